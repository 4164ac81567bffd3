"""Bounds on the log-likelihood of a latent-variable model; nats per example.

Kingma and Welling 2014 (arXiv:1312.6114), Burda et al. 2016 (arXiv:1509.00519), Higgins et al. 2017, Burgess et al.
2018 (arXiv:1804.03599).

(1) ELBO    L = E_q(z|x) log p(x|z) - beta KL(q(z|x) || p(z)),  beta = 1 for a bound
(2) IWAE-k  L_k = E log (1/k) sum_i w_i,  w_i = p(x|z_i) p(z_i) / q(z_i|x);  L_1 = ELBO <= L_k <= L_(k+1) <= log p(x)
(3) capacity E_q log p(x|z) - beta |KL - C|,  KL of a batch held to C nats
"""

import jax
import jax.numpy as jnp


def elbo(log_likelihood: jax.Array, kl: jax.Array, *, beta: float | jax.Array = 1.0) -> jax.Array:
    """(1) from the two terms, each ``[B]``."""
    return log_likelihood - beta * kl


def importance_weighted_bound(log_weights: jax.Array) -> jax.Array:
    """(2) from ``log w`` of shape ``[k, B]``."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def off_capacity(log_likelihood: jax.Array, kl: jax.Array, *, beta: float, capacity: jax.Array) -> jax.Array:
    """(3), a scalar, from the two terms of examples ``[B]``."""
    return log_likelihood.mean() - beta * jnp.abs(kl.mean() - capacity)
