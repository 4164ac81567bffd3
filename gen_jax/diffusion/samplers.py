"""Samplers: from noise to data along a decreasing sequence of times.

Ho, Jain and Abbeel 2020 (arXiv:2006.11239); Song, Meng and Ermon 2020, DDIM (arXiv:2010.02502).

With D = denoise(x_t, t) and eps = (x_t - alpha_t D) / sigma_t, one step from t to the next time s is

(1) ancestral   x_s ~ N(posterior mean of x_s given x_t and x_0 = D, variance I)
(2) DDIM        x_s = alpha_s D + sqrt(sigma_s^2 - tau^2) eps + tau z,   tau^2 = eta^2 times the posterior variance

and the last step, to the data, adds no noise. Both are of order 1 in law. (2) with eta = 1 is (1) with the posterior
variance; with eta = 0 it is a solver of the probability-flow ODE, and runs backwards to encode. What a denoiser is made
of (clipping, guidance) is its own business: eps follows from D.

Every sampler is a function of (process, denoise, times, key, x) and compiles as one loop; ``times`` is ``[S + 1]`` with
the data's time last, ``x`` is drawn from the process at ``times[0]``; each step is one evaluation of ``denoise``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.diffusion.process import Denoise, Process

Times = np.ndarray | jax.Array
Variance = Callable[[Process, jax.Array, jax.Array, jax.Array], jax.Array]
Reverse = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]  # x_t, t, s -> D, variance


def fixed_small(process: Process, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """The posterior variance: right where the data are one point."""
    return process.posterior_variance(x, t, s)


def fixed_large(process: Process, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """The variance of the forward step (``beta_t`` on the full chain): right where the data are standard normal."""
    return process.step_variance(x, t, s)


def between(process: Process, x: jax.Array, t: jax.Array, s: jax.Array, share: jax.Array) -> jax.Array:
    """From :func:`fixed_small` at ``share`` 0 to :func:`fixed_large` at 1, evenly in the logarithm; of a whole chain.

    Into the data the posterior has no variance; it is taken from one step further out.
    """
    inner = s >= 0
    small = process.posterior_variance(x, jnp.where(inner, t, t + 1), jnp.where(inner, s, t))
    return jnp.exp(share * jnp.log(process.step_variance(x, t, s)) + (1 - share) * jnp.log(small))


def ancestral(
    process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array, *, variance: Variance = fixed_large
) -> jax.Array:
    """(1) all the way down."""

    def read(x: jax.Array, t: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
        return denoise(x, _per_sample(t, x)), variance(process, x, t, s)

    return ancestral_by(process, read, times, key, x)


def ancestral_by(process: Process, read: Reverse, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
    """(1) where D and the variance come from one function, ``read(x_t, t, s)`` at scalar times."""

    def step(x: jax.Array, t: jax.Array, s: jax.Array, noise: jax.Array | None) -> jax.Array:
        x_0, variance = read(x, t, s)
        mean = process.posterior_mean(x, x_0, t, s)
        return mean if noise is None else mean + jnp.sqrt(variance) * noise

    return _descend(step, times, key, x)


def ddim(
    process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array, *, eta: float = 0.0
) -> jax.Array:
    """(2) all the way down; deterministic with ``eta`` 0."""

    def step(x: jax.Array, t: jax.Array, s: jax.Array, noise: jax.Array | None) -> jax.Array:
        tau = eta * jnp.sqrt(process.posterior_variance(x, t, s))
        x = ddim_step(process, denoise, x, t, s, tau)
        return x if noise is None else x + tau * noise

    return _descend(step, times, key, x)


def ddim_encode(process: Process, denoise: Denoise, times: Times, x: jax.Array) -> jax.Array:
    """The noise at ``times[0]`` that :func:`ddim` brings back to ``x``, up to an error of order 1 / S.

    At S evaluations; :func:`ddim_reverse` has no error, at more.
    """
    upwards = jnp.asarray(times)[:-1][::-1]
    x = process.at(upwards[0], x)[0] * x  # data hold no noise: the expected eps there is 0

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        s, t = pair
        return ddim_step(process, denoise, x, s, t), None

    return jax.lax.scan(step, x, (upwards[:-1], upwards[1:]))[0]


def ddim_reverse(process: Process, denoise: Denoise, times: Times, x: jax.Array, *, iterations: int = 20) -> jax.Array:
    """The ``x`` at ``times[0]`` that :func:`ddim` brings to this one at ``times[-1]``, which must have noise.

    Every step of (2), x_t = (sigma_t / sigma_s) (x_s - alpha_s D) + alpha_t D with D at x_t, is solved for x_t by so
    many substitutions, of one evaluation each. They close in on it where the step is short: on normal data one that
    less than doubles sigma / alpha, and a shorter one where D tells modes apart.
    """
    upwards = jnp.asarray(times)[::-1]

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        s, t = pair
        growth = process.sigma(t) / process.sigma(s)
        share = process.alpha(t) - growth * process.alpha(s)

        def closer(_: int, guess: jax.Array) -> jax.Array:
            return growth * x + share * denoise(guess, _per_sample(t, x))

        return jax.lax.fori_loop(0, iterations, closer, growth * x + share * denoise(x, _per_sample(s, x))), None

    return jax.lax.scan(step, x, (upwards[:-1], upwards[1:]))[0]


def ddim_step(
    process: Process, denoise: Denoise, x: jax.Array, t: jax.Array, s: jax.Array, tau: jax.Array | float = 0.0
) -> jax.Array:
    """(2) without its noise ``tau z``; the times may be ``[B]``."""
    x_0 = denoise(x, _per_sample(t, x))
    alpha, sigma = process.at(s, x)
    # The posterior variance is below sigma_s^2, but for rounding.
    return alpha * x_0 + jnp.sqrt(jnp.maximum(sigma**2 - tau**2, 0.0)) * process.noise(x, x_0, t)


def _descend(step: Callable[..., jax.Array], times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
    times = jnp.asarray(times)

    def body(x: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, s, i = now
        return step(x, t, s, jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype)), None

    x, _ = jax.lax.scan(body, x, (times[:-2], times[1:-1], jnp.arange(times.shape[0] - 2)))
    return step(x, times[-2], times[-1], None)


def _per_sample(t: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(t, x.shape[:1])
