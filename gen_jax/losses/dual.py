"""Losses of two critics, one that rewards data and one that rewards samples.

Nguyen, Le, Vu and Phung 2017, "Dual discriminator generative adversarial nets" (arXiv:1709.03831). A critic's reward is
D = sp(d) > 0 of its logit d; means are over the batch, all is minimised:

    of data      critic  -alpha E log D(x) + E D(G(z))        generator  -E D(G(z))                       (1)
    of samples   critic  E D(x) - beta E log D(G(z))          generator  beta E log D(G(z))               (2)

At their optima D is alpha p / q in (1) and beta q / p in (2), and both critics' losses together are

    alpha (1 - log alpha - KL(p || q)) + beta (1 - log beta - KL(q || p))                                 (3)

so that the generator minimises both divergences, the one that minds modes that are missing and the one that minds
samples that are none of the data. With alpha = beta = 1, (3) is 2 where it has won.
"""

import jax
import jax.numpy as jnp
from jax.nn import softplus

from gen_jax.losses.adversarial import AdversarialLoss

_LOW = -15.0  # below, log sp(d) is d - exp(d) / 2 to float32; sp itself vanishes from -103


def rewards_data(alpha: float) -> AdversarialLoss:
    """(1)."""
    return AdversarialLoss(
        lambda real, fake: softplus(fake).mean() - alpha * log_softplus(real).mean(),
        lambda fake: -softplus(fake).mean(),
    )


def rewards_samples(beta: float) -> AdversarialLoss:
    """(2)."""
    return AdversarialLoss(
        lambda real, fake: softplus(real).mean() - beta * log_softplus(fake).mean(),
        lambda fake: beta * log_softplus(fake).mean(),
    )


def log_softplus(d: jax.Array) -> jax.Array:
    """log(log(1 + exp(d))) of any finite ``d``, with its gradient."""
    is_low = d < _LOW  # each branch sees what it can take: a tie of minimum and maximum would halve the gradient
    low = jnp.where(is_low, d, _LOW)
    return jnp.where(is_low, low - jnp.exp(low) / 2, jnp.log(softplus(jnp.where(is_low, _LOW, d))))
