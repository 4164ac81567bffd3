"""Adversarial losses from logits, and penalties on the critic's gradient.

A critic gives a logit ``d`` per example; ``sp`` is softplus, means are over the batch, all is minimised.

    minimax         critic  E sp(-d_real) + E sp(d_fake)              generator  -E sp(d_fake)           (1)
    non-saturating  critic  as (1)                                    generator  E sp(-d_fake)           (2)
    hinge           critic  E relu(1 - d_real) + E relu(1 + d_fake)   generator  -E d_fake               (3)
    least squares   critic  1/2 E (d_real - 1)^2 + 1/2 E d_fake^2     generator  1/2 E (d_fake - 1)^2    (4)
    Wasserstein     critic  E d_fake - E d_real                       generator  -E d_fake               (5)
    relativistic    critic  E sp(d_fake - d_real)                     generator  E sp(d_real - d_fake)   (8)

and, against means over the batch, with r = d_real - E d_fake and f = d_fake - E d_real,

    relativistic average    critic  1/2 E sp(-r) + 1/2 E sp(f)    generator  1/2 E sp(r) + 1/2 E sp(-f)  (9)

At its optimum the critic's (1) is ``log 4 - 2 JSD(p, q)``, with ``d = log p - log q``, and (3) is
``2 (1 - TV(p, q))``. The critic's losses are *sums* of two terms, not means: where the generator has won,
(1) stands at log 4 = 1.386. In (8) real and fake examples are pairs, as they lie in the batch: its optimum is
``log 2 - JSD(p x q, q x p)`` at the same ``d`` and any constant, and (8) and (9) stand at log 2 where the generator has
won.

    R1                gamma / 2 E ||grad_x d(x)||^2           over real x                                (6)
    R2                gamma / 2 E ||grad_x d(x)||^2           over fake x                                (6)
    gradient penalty  weight E (||grad_x d(x)|| - 1)^2        over x = real + u (fake - real)            (7)

    drift             weight E d(x)^2                         over real x                                (10)

with one ``u ~ U[0, 1]`` per example. Norms are per example, over all axes but the first.

(1), (2): Goodfellow et al. 2014, arXiv 1406.2661. (3): Lim and Ye 2017, arXiv 1705.02894.
(4): Mao et al. 2016, arXiv 1611.04076. (5): Arjovsky et al. 2017, arXiv 1701.07875.
(6): Mescheder et al. 2018, arXiv 1801.04406. (7): Gulrajani et al. 2017, arXiv 1704.00028.
(10): Karras et al. 2018, arXiv 1710.10196, where (5) leaves a constant free.
(8), (9): Jolicoeur-Martineau 2018, arXiv 1807.00734; (8) with both of (6): Huang et al. 2024, arXiv 2501.05441.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus

Critic = Callable[[jax.Array], jax.Array]  # [B, ...] -> logits [B]


class AdversarialLoss(NamedTuple):
    """What critic and generator minimise.

    ``critic(real_logits, fake_logits)`` and ``generator(fake_logits)`` map logits of any shape to a scalar; where the
    loss is relativistic, it is ``generator(fake_logits, real_logits)``.
    """

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[..., jax.Array]
    is_relativistic: bool = False


def _cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
    return softplus(-real).mean() + softplus(fake).mean()


minimax = AdversarialLoss(_cross_entropy, lambda fake: -softplus(fake).mean())
"""(1): the generator's gradient vanishes where the critic is sure."""

non_saturating = AdversarialLoss(_cross_entropy, lambda fake: softplus(-fake).mean())
"""(2): the same fixed point as (1), with a gradient that lives while the critic wins."""

hinge = AdversarialLoss(
    lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
    lambda fake: -fake.mean(),
)
"""(3)."""

least_squares = AdversarialLoss(
    lambda real, fake: 0.5 * jnp.square(real - 1).mean() + 0.5 * jnp.square(fake).mean(),
    lambda fake: 0.5 * jnp.square(fake - 1).mean(),
)
"""(4): real examples are drawn to 1 and fake ones to 0."""

wasserstein = AdversarialLoss(
    lambda real, fake: fake.mean() - real.mean(),
    lambda fake: -fake.mean(),
)
"""(5): the negative of the critic's loss estimates a multiple of the distance, if the critic is Lipschitz."""

relativistic = AdversarialLoss(
    lambda real, fake: softplus(fake - real).mean(),
    lambda fake, real: softplus(real - fake).mean(),
    is_relativistic=True,
)
"""(8): a critic says which of two is the real one, so that no example is worth anything by itself."""


def _average(upper: jax.Array, lower: jax.Array) -> jax.Array:
    above, below = upper - lower.mean(), lower - upper.mean()
    return 0.5 * softplus(-above).mean() + 0.5 * softplus(below).mean()


relativistic_average = AdversarialLoss(_average, _average, is_relativistic=True)
"""(9)."""


def r1(critic: Critic, real: jax.Array, *, gamma: float) -> jax.Array:
    """(6), note its 1/2. Needs no square root, so it is smooth where the gradient is zero.

    Args:
      critic: maps ``[B, ...]`` to logits ``[B]``. If it lets examples see each other (minibatch
        statistics), what is penalised is the gradient of the sum of all logits.
      real: ``[B, ...]``, where the gradient is taken; R2 is the same at generated examples.
      gamma: weight.
    """
    return 0.5 * gamma * _squared_gradient_norms(critic, real).mean()


def gradient_penalty(
    critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array, *, weight: float = 10.0
) -> jax.Array:
    """(7). The critic must not normalise over the batch.

    Args:
      critic: maps ``[B, ...]`` to logits ``[B]``.
      real: ``[B, ...]``.
      fake: ``[B, ...]``.
      key: draws one mixing weight per example.
      weight: of the penalty.
    """
    u = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
    squared = _squared_gradient_norms(critic, real + u * (fake - real))
    # The square root has no derivative at zero: a constant critic would poison the parameters with NaN.
    norms = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    return weight * jnp.square(norms - 1).mean()


def drift(critic: Critic, real: jax.Array, *, weight: float) -> jax.Array:
    """(10): keeps the logits of ``real [B, ...]`` about zero."""
    return weight * jnp.square(critic(real)).mean()


def _squared_gradient_norms(critic: Critic, x: jax.Array) -> jax.Array:
    gradient = jax.grad(lambda x: critic(x).sum())(x)
    return jnp.square(gradient).reshape(x.shape[0], -1).sum(axis=1)  # [B]
