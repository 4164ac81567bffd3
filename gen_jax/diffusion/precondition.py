"""Denoisers of raw networks whose input, output and error have unit variance at every noise.

Karras et al. 2022 (arXiv:2206.00364), section 5 and table 1, for the process alpha = 1, sigma = t and data of standard
deviation d:

(1) D(x, t) = skip x + out F(in x, noise)
(2) skip = d^2 / (t^2 + d^2),  out = t d / sqrt(t^2 + d^2),  in = 1 / sqrt(t^2 + d^2),  noise = log(t) / 4
(3) loss = weight E |D(x_0 + t eps, t) - x_0|^2,  weight = (t^2 + d^2) / (t d)^2
(4) log t ~ N(-1.2, 1.2^2) in training

With (2) the loss (3) of a network that gives 0 is the variance of the data over d^2 at every t.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import Denoise, against

Network = Callable[[jax.Array, jax.Array], jax.Array]  # F: input [B, ...], noise label [B] -> [B, ...]


def edm_denoiser(network: Network, *, data_spread: float = 0.5) -> Denoise:
    """(1) with (2)."""

    def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
        spread = jnp.hypot(t, data_spread)
        skip, out = (data_spread / spread) ** 2, t * data_spread / spread
        raw = network(against(1 / spread, x) * x, jnp.log(t) / 4)
        return against(skip, x) * x + against(out, x) * raw

    return denoise


def edm_weight(t: jax.Array, *, data_spread: float = 0.5) -> jax.Array:
    """The weight of (3)."""
    return (t**2 + data_spread**2) / (t * data_spread) ** 2


def edm_times(key: jax.Array, n: int, *, mean: float = -1.2, spread: float = 1.2) -> jax.Array:
    """(4), ``[n]``."""
    return jnp.exp(mean + spread * jax.random.normal(key, (n,)))
