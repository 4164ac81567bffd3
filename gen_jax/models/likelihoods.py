"""What a decoder's output says of an example: the laws p(x | z) of variational autoencoders.

Kingma and Welling 2014 (arXiv:1312.6114), Bernoulli and Gaussian; Rybkin, Daniilidis and Levine 2021, "Simple and
effective VAE training with calibrated decoders" (arXiv:2006.13202), one variance for all pixels; Salimans et al. 2017
(arXiv:1701.05517), discretised logistics and their mixtures.

(1) log p(x | z) = sum over the numbers of x, nats
(2) s^2 = mean (x - m(z))^2            the variance of a Gaussian p(x | z) for which (1) is largest over a batch
(3) p(x_i | z) = sum_k w_ik L(x_i; m_ik, s_ik)     L the logistic's mass of a grey level, every number with K of them

(3) is of every channel by itself, where PixelCNN++ lets the later ones see the earlier. All but the Bernoulli
normalise over the 256 grey levels or, of dequantised pixels and real numbers, as a density.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.fields import PIXELS, Field

COMPONENTS = 5  # of a mixture (3)
Law = Literal["gaussian", "logistic", "mixture", "bernoulli"]


class Likelihood(NamedTuple):
    """p(x | z) from the decoder's raw output of ``C * outputs`` channels and one log-variance for all numbers.

    ``log_variance(x, raw)`` is the best one for a batch, by (2), or 0 where the likelihood has none; ``target(key, x)``
    makes the data that the likelihood is about (binarised, dequantised or as they are); ``log_prob(x, raw,
    log_variance)`` is (1), ``[B]``; ``mean(raw)`` is the expected example and ``draw(key, raw, log_variance)`` a draw,
    both where data lie; ``level_log_prob`` is what one number's log-probability gains when a density is turned into a
    mass of 8-bit data.
    """

    outputs: int
    has_variance: bool
    log_variance: Callable[[jax.Array, jax.Array], jax.Array]
    target: Callable[[jax.Array, jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]
    draw: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    level_log_prob: float
    log_prob_kind: str


def over_example(x: jax.Array) -> jax.Array:
    """Sums ``[B]`` of ``[B, ...]``."""
    return x.sum(axis=tuple(range(1, x.ndim)))


def _as_it_is(key: jax.Array, x: jax.Array) -> jax.Array:
    return x


def _clipped(x: jax.Array) -> jax.Array:
    return jnp.clip(x, -1.0, 1.0)


def _no_variance(x: jax.Array, raw: jax.Array) -> jax.Array:
    return jnp.zeros(())


def _log_scale(raw: jax.Array) -> jax.Array:
    return jnp.maximum(raw - 2.0, -7.0)  # begins at a seventh of the range of pixels


def _mean_and_log_scale(raw: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = jnp.split(raw, 2, axis=-1)
    return jnp.tanh(mean), _log_scale(log_scale)


def _components(raw: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``[..., 3 K C]`` to log-weights, means and log-scales, ``[..., C, K]``; the means begin evenly over the range."""
    parts = raw.reshape(*raw.shape[:-1], -1, 3, COMPONENTS)
    start = jnp.linspace(-1.0, 1.0, COMPONENTS, dtype=raw.dtype)
    return jax.nn.log_softmax(parts[..., 0, :]), parts[..., 1, :] + start, _log_scale(parts[..., 2, :])


def _mixture_log_prob(x: jax.Array, raw: jax.Array, log_variance: jax.Array) -> jax.Array:
    log_weight, mean, log_scale = _components(raw)
    log_mass = distributions.discretised_logistic_log_prob(x[..., None], mean, log_scale)
    return over_example(jax.nn.logsumexp(log_weight + log_mass, axis=-1))


def _mixture_mean(raw: jax.Array) -> jax.Array:
    log_weight, mean, _ = _components(raw)
    return (jnp.exp(log_weight) * _clipped(mean)).sum(axis=-1)


def _mixture_draw(key: jax.Array, raw: jax.Array, log_variance: jax.Array) -> jax.Array:
    which_key, value_key = jax.random.split(key)
    log_weight, mean, log_scale = _components(raw)
    which = jax.nn.one_hot(jax.random.categorical(which_key, log_weight), COMPONENTS, dtype=raw.dtype)
    chosen = ((which * values).sum(axis=-1) for values in (mean, log_scale))
    return distributions.discretised_logistic_sample(value_key, *chosen)


BERNOULLI = Likelihood(
    outputs=1,
    has_variance=False,
    log_variance=_no_variance,
    target=lambda key, x: (jax.random.uniform(key, x.shape) < 0.5 * (x + 1)).astype(jnp.float32),
    log_prob=lambda x, raw, log_variance: over_example(distributions.bernoulli_log_prob(x, raw)),
    mean=lambda raw: 2 * jax.nn.sigmoid(raw) - 1,
    draw=lambda key, raw, log_variance: 2.0 * (jax.random.uniform(key, raw.shape) < jax.nn.sigmoid(raw)) - 1.0,
    level_log_prob=0.0,
    log_prob_kind="lower bound, binarised",
)
GAUSSIAN = Likelihood(
    outputs=1,
    has_variance=True,
    log_variance=lambda x, raw: jnp.log(jnp.mean((x - raw) ** 2) + 1e-8),
    target=distributions.dequantise,
    log_prob=lambda x, raw, log_variance: over_example(distributions.normal_log_prob(x, raw, log_variance)),
    mean=_clipped,
    draw=lambda key, raw, log_variance: _clipped(distributions.normal_sample(key, raw, log_variance)),
    level_log_prob=math.log(distributions.LEVEL),
    log_prob_kind="lower bound",
)
LOGISTIC = Likelihood(
    outputs=2,
    has_variance=False,
    log_variance=_no_variance,
    target=_as_it_is,
    log_prob=lambda x, raw, log_variance: over_example(
        distributions.discretised_logistic_log_prob(x, *_mean_and_log_scale(raw))
    ),
    mean=lambda raw: _mean_and_log_scale(raw)[0],
    draw=lambda key, raw, log_variance: distributions.discretised_logistic_sample(key, *_mean_and_log_scale(raw)),
    level_log_prob=0.0,
    log_prob_kind="lower bound",
)
MIXTURE = LOGISTIC._replace(outputs=3 * COMPONENTS, log_prob=_mixture_log_prob, mean=_mixture_mean, draw=_mixture_draw)
NUMBERS = GAUSSIAN._replace(
    target=_as_it_is, mean=lambda raw: raw, draw=distributions.normal_sample, level_log_prob=0.0
)
LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": BERNOULLI,
    "gaussian": GAUSSIAN,
    "logistic": LOGISTIC,
    "mixture": MIXTURE,
}


def likelihood_of(name: str, field: Field) -> Likelihood:
    """The likelihood of this name for 8-bit pixels, or the Gaussian of real numbers, a density.

    Raises:
      ValueError: of another one for real numbers.
    """
    if field.kind is PIXELS:
        return LIKELIHOODS[name]
    if name != "gaussian":
        raise ValueError(f"expected likelihood='gaussian' for real numbers, got {name!r}, which is of pixels")
    return NUMBERS
