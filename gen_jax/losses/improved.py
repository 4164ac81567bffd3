"""Softer goals for critic and generator, and a classifier that is a critic.

Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498). With d logits, f features of a critic,
l the K logits of a classifier, Z = lse(l) = log sum exp l, and sp the softplus:

    one-sided smoothing   critic   t E sp(-d_real) + (1 - t) E sp(d_real) + E sp(d_fake)                  (1)
    feature matching      generator   mean over features of (E f_real - E f_fake)^2                       (2)
    classifier, labelled              E (Z - l_y)                                                         (3)
    classifier, all               1/2 E sp(-Z_real) + 1/2 E sp(Z_fake)                                    (4)

(1) has its optimum at d = log t p / ((1 - t) p + q), so that a sure critic's logit at data is log t / (1 - t) and not
infinite; the fake goal stays 0, since above it q would be drawn to where it already is. (3) and (4) are the losses of a
classifier of K + 1 classes whose last logit, that of what is generated, is held at 0.
"""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp, softplus

from gen_jax.losses.adversarial import AdversarialLoss, non_saturating


def smoothed(goal: float) -> AdversarialLoss:
    """(1) with t = ``goal``, and the generator of the non-saturating loss, which 1 makes it."""

    def critic(real: jax.Array, fake: jax.Array) -> jax.Array:
        return (softplus(-real) + (1 - goal) * real).mean() + softplus(fake).mean()  # sp(d) is sp(-d) + d

    return AdversarialLoss(critic, non_saturating.generator)


def feature_matching(real: jax.Array, fake: jax.Array) -> jax.Array:
    """(2), of features ``[B, F]`` of both."""
    return jnp.square(real.mean(axis=0) - fake.mean(axis=0)).mean()


def labelled(logits: jax.Array, label: jax.Array, known: jax.Array) -> jax.Array:
    """(3), of ``logits [B, K]`` and ``label [B]``: the mean over those whose label is ``known [B]``; 0 of none."""
    own = jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
    return jnp.where(known, logsumexp(logits, axis=-1) - own, 0.0).sum() / jnp.maximum(known.sum(), 1)


def told_apart(real: jax.Array, fake: jax.Array) -> jax.Array:
    """(4), of the logits ``[B, K]`` of real and of generated examples."""
    return non_saturating.critic(logsumexp(real, axis=-1), logsumexp(fake, axis=-1)) / 2
