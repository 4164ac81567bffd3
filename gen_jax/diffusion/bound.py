"""The variational bound of a diffusion model, in nats per example.

Sohl-Dickstein et al. 2015 (arXiv:1503.03585); Ho, Jain and Abbeel 2020, section 3 (arXiv:2006.11239).

(1) -log p(x_0) <= prior + sum_t KL_t + decoder, over the steps t -> s of a chain but the last
(2) prior    = KL(q(x_T | x_0) || N(0, I))
(3) KL_t     = KL(q(x_s | x_t, x_0) || N(posterior mean with x_0 = D(x_t, t), variance_t I)),  averaged over x_t
(4) decoder  = -log p(x_0 | x_t at the chain's first time), mean D(x_t, t)

The decoder for 8-bit images is a normal distribution cut into grey levels, the end levels taking their tails. The bound
is as tight as the chain is fine; for standard normal data, the exact denoiser and ``fixed_large`` it is exact.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from gen_jax import distributions
from gen_jax.diffusion.likelihood import Likelihood
from gen_jax.diffusion.process import Denoise, Process
from gen_jax.diffusion.samplers import Times, Variance, fixed_large, fixed_small

Decoder = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # x_0, mean, variance -> log-probability per element


class Bound(NamedTuple):
    """The terms of (1), nats ``[B]``; ``total`` bounds the negative log-likelihood from above."""

    prior: jax.Array
    steps: jax.Array
    decoder: jax.Array

    @property
    def total(self) -> jax.Array:
        """Their sum."""
        return self.prior + self.steps + self.decoder

    @property
    def log_prob(self) -> jax.Array:
        """What the log-probability is at least."""
        return -self.total


def variational_bound(
    process: Process,
    denoise: Denoise,
    times: Times,
    key: jax.Array,
    x_0: jax.Array,
    *,
    terms: int = 0,
    variance: Variance = fixed_large,
    decoder_variance: Variance = fixed_small,
    decoder: Decoder | None = None,
) -> Bound:
    """(1) for 8-bit images ``x_0 [B, H, W, C]`` in [-1, 1], or with another decoder for other data.

    Args:
      process: the forward process.
      denoise: D, best clipped to the data's range.
      times: the chain, ``[S + 1]``, decreasing, the data's time last.
      key: for the noise in x_t, one draw a term.
      x_0: the images.
      terms: how many of the S - 1 terms (3) are evaluated, at random times spread evenly over the chain, to estimate
        their sum without bias; 0 evaluates all of them.
      variance: of the model's steps.
      decoder_variance: of the decoder, asked with x at the chain's first time, the time beyond it, and the first time.
      decoder: the log-probability of x_0; see :func:`decoder_loss`.
    """
    times = jnp.asarray(times)
    count = times.shape[0] - 2  # terms (3)
    time_key, decoder_key, noise_key = jax.random.split(key, 3)
    evaluated = min(terms, count) or count

    def body(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        noise = jax.random.normal(jax.random.fold_in(noise_key, i), x_0.shape)
        if evaluated == count:
            index = jnp.full(x_0.shape[:1], i)
        else:
            offset = jax.random.uniform(jax.random.fold_in(time_key, i), x_0.shape[:1])
            index = jnp.minimum(jnp.floor((i + offset) * (count / evaluated)).astype(int), count - 1)
        kl = step_kl(process, denoise, x_0, noise, times[index], times[index + 1], variance=variance)
        return total + kl * (count / evaluated), None

    steps, _ = jax.lax.scan(body, jnp.zeros(x_0.shape[:1]), jnp.arange(evaluated))
    noise = jax.random.normal(decoder_key, x_0.shape)
    first = jnp.broadcast_to(times[-2], x_0.shape[:1])
    last = decoder_loss(process, denoise, x_0, noise, first, times[-3], decoder=decoder, variance=decoder_variance)
    return Bound(prior_kl(process, x_0, times[0]), steps, last)


def bound_likelihood(
    times: Times, *, terms: int = 0, variance: Variance = fixed_large, level: float = distributions.LEVEL
) -> Likelihood:
    """:func:`variational_bound` over the chain ``times`` as the likelihood of 8-bit images, or with ``level`` 0 of real
    numbers, whose decoder is a normal density.
    """
    decoder = discretised_normal_log_prob if level else normal_log_prob
    evidence = partial(variational_bound, terms=terms, variance=variance, decoder=decoder)
    return Likelihood("lower bound", lambda process, denoise, key, x_0: evidence(process, denoise, times, key, x_0))


def prior_kl(process: Process, x_0: jax.Array, t: jax.Array) -> jax.Array:
    """(2), ``[B]``."""
    alpha, sigma = process.at(t, x_0)
    return _sum(distributions.standard_normal_kl(alpha * x_0, 2 * jnp.log(sigma)))


def step_kl(
    process: Process,
    denoise: Denoise,
    x_0: jax.Array,
    noise: jax.Array,
    t: jax.Array,
    s: jax.Array,
    *,
    variance: Variance = fixed_large,
) -> jax.Array:
    """(3) at the ``x_t`` made of ``noise``, ``[B]``; times are ``[B]``."""
    x_t = process.diffuse(x_0, noise, t)
    model_variance = variance(process, x_t, t, s)
    excess = process.posterior_variance(x_t, t, s) / model_variance - 1
    # The difference of the means (3) of the process, which share their part in x_t.
    difference = process.posterior_mean(jnp.zeros_like(x_t), x_0 - denoise(x_t, t), t, s)
    return 0.5 * _sum(excess - jnp.log1p(excess) + difference**2 / model_variance)


def decoder_loss(
    process: Process,
    denoise: Denoise,
    x_0: jax.Array,
    noise: jax.Array,
    first: jax.Array,
    second: jax.Array,
    *,
    decoder: Decoder | None = None,
    variance: Variance = fixed_small,
) -> jax.Array:
    """(4), ``[B]``; its variance is that of the posterior one step further out, whatever that of the steps.

    Args:
      process: the forward process.
      denoise: D.
      x_0: the data ``[B, ...]``.
      noise: the noise in x_t, of the same shape.
      first: the chain's time next to the data, ``[B]``.
      second: the time beyond it.
      decoder: another log-probability of x_0; grey levels under a normal distribution by default.
      variance: asked with x_t, ``second`` and ``first``.
    """
    x_t = process.diffuse(x_0, noise, first)
    log_prob = discretised_normal_log_prob if decoder is None else decoder
    return -_sum(log_prob(x_0, denoise(x_t, first), variance(process, x_t, second, first)))


def normal_log_prob(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Log-density at ``x`` under a normal distribution, in nats."""
    return distributions.normal_log_prob(x, mean, jnp.log(variance))


def discretised_normal_log_prob(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Log-mass of the grey level at ``x`` in [-1, 1] under a normal distribution, in nats."""
    half, scale = distributions.LEVEL / 2, jax.lax.rsqrt(variance)
    lower = jnp.where(x < -1 + half, -jnp.inf, (x - mean - half) * scale)
    upper = jnp.where(x > 1 - half, jnp.inf, (x - mean + half) * scale)
    # Mirrored into the left tail, where the difference of two small masses keeps its digits.
    mirrored = lower + upper > 0
    lower, upper = jnp.where(mirrored, -upper, lower), jnp.where(mirrored, -lower, upper)
    log_upper = log_ndtr(upper)
    return log_upper + jnp.log(-jnp.expm1(log_ndtr(lower) - log_upper))


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(axis=tuple(range(1, x.ndim)))
