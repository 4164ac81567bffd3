"""Log-densities, divergences and draws of the distributions that the models are made of; everything in nats.

Per-element functions; the caller sums. Images in [-1, 1] stand for the 256 grey levels ``v = 0..255`` at
``x = v / 127.5 - 1``, so that one level is ``LEVEL = 2 / 255`` wide.

(1) Gaussian KL      KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2) / 2
                     KL(N(m, s^2) || N(n, t^2)) = KL(N((m - n) / t, (s / t)^2) || N(0, 1))
(2) Gaussian         log N(x; m, s^2) = -((x - m) / s)^2 / 2 - log s - log(2 pi) / 2
(3) Bernoulli        log p(x) = x l - softplus(l), with logit l
(4) discretised logistic (Salimans et al. 2017, arXiv:1701.05517, eq. 2)
                     P(x) = S((x + h - m) / s) - S((x - h - m) / s), h = LEVEL / 2, S the sigmoid; the first level
                     takes the whole lower tail and the last the whole upper tail, so that the 256 masses sum to one
(5) dequantisation   log P(v) >= E_u log p(x + LEVEL (u - 1/2)) + log LEVEL, u ~ U(0, 1), for a density p over x
"""

import math

import jax
import jax.numpy as jnp

LEVEL = 2.0 / 255.0
_LOG_TWO_PI = 1.8378770664093453


def standard_normal_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) of every element, by (1)."""
    return 0.5 * (mean**2 + jnp.expm1(log_variance) - log_variance)


def normal_kl(mean: jax.Array, log_variance: jax.Array, other: jax.Array, other_log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_variance)) || N(other, exp(other_log_variance))) of every element, by (1)."""
    return standard_normal_kl((mean - other) * jnp.exp(-0.5 * other_log_variance), log_variance - other_log_variance)


def normal_log_prob(x: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Log-density of every element, by (2)."""
    return -0.5 * ((x - mean) ** 2 * jnp.exp(-log_variance) + log_variance + _LOG_TWO_PI)


def normal_sample(key: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """One reparameterised draw of the shape of ``mean``."""
    return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)


def bernoulli_log_prob(x: jax.Array, logit: jax.Array) -> jax.Array:
    """Log-probability of every element of ``x`` in {0, 1}, by (3)."""
    return x * logit - jax.nn.softplus(logit)


def discretised_logistic_log_prob(x: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    """Log-mass of the grey level at ``x`` in [-1, 1], by (4)."""
    inverse_scale = jnp.exp(-log_scale)
    upper = (x - mean + LEVEL / 2) * inverse_scale
    lower = (x - mean - LEVEL / 2) * inverse_scale
    # S(u) - S(l) = S(u) S(-l) (1 - exp(l - u)): no cancellation, however far out in a tail the level is; where u - l
    # is next to 0, which a large scale makes it, log(1 - exp(l - u)) = log(u - l) - (u - l) / 2.
    width = LEVEL * inverse_scale
    flat = width < 1e-3
    log_width = jnp.where(flat, math.log(LEVEL) - log_scale, jnp.log(-jnp.expm1(-jnp.maximum(width, 1e-3))))
    inside = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + log_width - jnp.where(flat, width / 2, 0.0)
    first = x < -1 + LEVEL / 2
    last = x > 1 - LEVEL / 2
    return jnp.where(first, jax.nn.log_sigmoid(upper), jnp.where(last, jax.nn.log_sigmoid(-lower), inside))


def discretised_logistic_sample(key: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
    """One draw, clipped to [-1, 1] as (4) folds the tails into the end levels."""
    return jnp.clip(mean + jnp.exp(log_scale) * jax.random.logistic(key, mean.shape), -1.0, 1.0)


def dequantise(key: jax.Array, x: jax.Array, level: float = LEVEL) -> jax.Array:
    """``x`` with uniform noise of one level's width, as (5) asks; real numbers, of level 0, stay as they are."""
    return x + level * jax.random.uniform(key, x.shape, minval=-0.5, maxval=0.5) if level else x


def log_level(level: float = LEVEL) -> float:
    """What (5) adds per dimension, nats; 0 of real numbers, whose log-probability is a density's."""
    return math.log(level) if level else 0.0


def bits_per_dim(log_prob: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Bits per number of an example of ``shape``, from nats per example."""
    return -log_prob / (math.prod(shape) * jnp.log(2.0))
