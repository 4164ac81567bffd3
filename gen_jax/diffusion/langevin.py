"""Samplers of the reverse SDE: a predictor, and Langevin steps that correct it.

Song et al. 2021 (arXiv:2011.13456), section 4 and appendices E to G. With score = (alpha D - x) / sigma^2 and
D = denoise(x_t, t), one step from t to s, for z ~ N(0, I), is

(1) Euler and Maruyama   x + (f x - g^2 score) (s - t) + g sqrt(t - s) z
(2) reverse diffusion    (2 - alpha_ts) x + sigma_ts^2 score + sigma_ts z
(3) Langevin             x + e score + sqrt(2 e) z,   e = 2 a (q |z| / |score|)^2,  at one time

where f and g are those of the process, alpha_ts and sigma_ts those of its step, q the signal-to-noise ratio of a
correction and a = 1. (2) runs a step of the chain backwards as it ran forwards. The last step adds no noise. Both (1)
and (2) are of order 1 in law. Norms in (3) are those of one image, so that an image does not depend on its batch.

As in :mod:`gen_jax.diffusion.samplers`, samplers are functions of (process, denoise, times, key, x), here in
continuous time.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import SCORE, Denoise, Process
from gen_jax.diffusion.samplers import Times

# process, score at t, x, t, s -> mean and standard deviation of x at s
Predictor = Callable[[Process, jax.Array, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def euler_maruyama(
    process: Process, score: jax.Array, x: jax.Array, t: jax.Array, s: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(1)."""
    drift, spread = process.forward(t, x)
    return x + (drift * x - spread * score) * (s - t), jnp.sqrt(spread * (t - s))


def reverse_diffusion(
    process: Process, score: jax.Array, x: jax.Array, t: jax.Array, s: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(2)."""
    variance = process.step_variance(x, t, s)
    kept = process.at(t, x)[0] / process.at(s, x)[0]
    return (2 - kept) * x + variance * score, jnp.sqrt(variance)


def predictor_corrector(
    process: Process,
    denoise: Denoise,
    times: Times,
    key: jax.Array,
    x: jax.Array,
    *,
    predictor: Predictor = reverse_diffusion,
    corrections: int = 1,
    ratio: float = 0.16,
) -> jax.Array:
    """At every time ``corrections`` steps (3), then the predictor's: ``S (1 + corrections)`` evaluations.

    Args:
      process: the path.
      denoise: D.
      times: ``[S + 1]``, decreasing.
      key: of all noise.
      x: ``[B, ...]`` at ``times[0]``.
      predictor: (1) or (2).
      corrections: 0 for the predictor alone.
      ratio: q of (3).
    """
    times = jnp.asarray(times)

    def score(x: jax.Array, t: jax.Array) -> jax.Array:
        x_0 = denoise(x, jnp.broadcast_to(t, x.shape[:1]))
        return SCORE.target(process, x_0, process.noise(x, x_0, t), t)

    def step(
        carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x, _), (t, s, i) = carry, now
        keys = jax.random.split(jax.random.fold_in(key, i), corrections + 1)
        for j in range(corrections):
            x = langevin(score(x, t), keys[j], x, ratio=ratio)
        mean, spread = predictor(process, score(x, t), x, t, s)
        return (mean + spread * jax.random.normal(keys[-1], x.shape, x.dtype), mean), None

    return jax.lax.scan(step, (x, x), (times[:-1], times[1:], jnp.arange(len(times) - 1)))[0][1]


def langevin(score: jax.Array, key: jax.Array, x: jax.Array, *, ratio: float) -> jax.Array:
    """(3), ``x`` and ``score [B, ...]``; an image without a score, as an untrained network has it, stays as it is."""
    noise = jax.random.normal(key, x.shape, x.dtype)

    def norm(a: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.square(a).sum(axis=tuple(range(1, a.ndim)), keepdims=True))

    slope = norm(score)
    some = slope > 1e-15  # the square of the quotient is finite
    size = jnp.where(some, 2 * (ratio * norm(noise) / jnp.where(some, slope, 1.0)) ** 2, 0.0)
    return x + size * score + jnp.sqrt(2 * size) * noise
