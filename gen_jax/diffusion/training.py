"""At which times a denoiser is trained, and how much each counts.

Song et al. 2021, "Maximum likelihood training of score-based diffusion models" (arXiv:2101.09258), (3) and (4); Kingma
et al. 2021 (arXiv:2107.00630), (1) and (4); Karras et al. 2022 (arXiv:2206.00364), (5); Esser et al. 2024
(arXiv:2403.03206), (6); Hang et al. 2023 (arXiv:2303.09556), (7). With r = sigma / alpha and SNR = 1 / r^2:

(1) t_i = Q((u + i / B) mod 1),  one u ~ U(0, 1) for a batch of B: each is of the law whose quantile function is Q
(2) loss = E_t w_t |y - target|^2,  y what the network predicts
(3) w_t of errors in x_0 is w_t (dx_0 / dy)^2 of errors in y; the likelihood asks for  g^2 alpha^2 / sigma^4  in x_0,
    which is  g^2 / sigma^2 = d log(r^2) / dt  in eps
(4) so that t of which log r is uniform sees the likelihood's integral with a constant weight: its variance is least
(5) log t  ~ N(-1.2, 1.2^2)
(6) logit t ~ N(0, 1)
(7) w_t = min(SNR, gamma) in x_0

All times of a batch are evenly spread over the law, and its loss hardly depends on which it drew. The functions that
make laws and weights know no network.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.diffusion.precondition import ratio
from gen_jax.diffusion.process import Prediction, Process

Law = Callable[[jax.Array], jax.Array]  # Q of (1): numbers in [0, 1) [B] -> times [B]
Weight = Callable[[Process, jax.Array], jax.Array]  # process, t [B] -> [B], or a scalar


def spread(key: jax.Array, n: int) -> jax.Array:
    """The uniform numbers of (1), ``[n]``."""
    return (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0


def steps(timesteps: int) -> Law:
    """Every step of a chain alike, 0 .. timesteps - 1."""
    return lambda u: jnp.minimum((u * timesteps).astype(jnp.int32), timesteps - 1)


def uniform(first: float, last: float) -> Law:
    """Between two times."""
    return lambda u: first + (last - first) * u


def log_normal(*, mean: float = -1.2, deviation: float = 1.2) -> Law:
    """(5)."""
    return lambda u: jnp.exp(mean + deviation * _normal_quantile(u))


def logit_normal(*, mean: float = 0.0, deviation: float = 1.0) -> Law:
    """(6): times of a path on [0, 1], most of them in the middle."""
    return lambda u: jax.nn.sigmoid(mean + deviation * _normal_quantile(u))


def even_log_snr(process: Process, first: float, last: float) -> Law:
    """(4), between two times that have noise; exact for every process whose times follow from r.

    Raises:
      ValueError: of a chain.
    """
    if process.time is None:
        raise ValueError("even steps of log(alpha / sigma) need a process of continuous time, this one is a chain")
    time = process.time

    def law(u: jax.Array) -> jax.Array:
        low, high = (jnp.log(ratio(process, jnp.asarray(t))) for t in (first, last))
        return time(jnp.exp(low + (high - low) * u))

    return law


def simple(process: Process, t: jax.Array) -> jax.Array:
    """1: all errors of what the network predicts count alike."""
    return jnp.ones(())


def of_x_0(prediction: Prediction, weight: Weight) -> Weight:
    """A weight of errors in x_0 as the weight of errors in what the network predicts, by (3)."""
    return lambda process, t: weight(process, t) * _gain(process, prediction, t) ** 2


def likelihood(process: Process, t: jax.Array) -> jax.Array:
    """(3), of errors in x_0; for a uniform law of times."""
    noise = process.forward(t, t)[1]
    return noise * (process.alpha(t) / process.sigma(t) ** 2) ** 2


def likelihood_of_even_log_snr(first: float, last: float) -> Weight:
    """The same of errors in x_0 under the law (4): the same mean over times, with less variance."""

    def weight(process: Process, t: jax.Array) -> jax.Array:
        low, high = (ratio(process, jnp.asarray(end)) for end in (first, last))
        return 2 * jnp.log(high / low) / (last - first) / ratio(process, t) ** 2

    return weight


def min_snr(process: Process, prediction: Prediction, last: jax.Array | int, *, gamma: float = 5.0) -> Weight:
    """(7) as a weight of errors in what the network predicts.

    Args:
      process: the path.
      prediction: y.
      last: its noisiest time.
      gamma: the largest weight in x_0.

    Raises:
      ValueError: if at the last time x_0 does not follow from what the network predicts, as from eps without signal.
    """
    at = jnp.asarray(last)
    gain = _gain(process, prediction, at)
    if not math.isfinite(float(gain)):
        raise ValueError(
            f"at time {last} no signal is left, and x_0 does not follow from this prediction; take v or x0"
        )
    # min(1 / r^2, gamma) without a division by an alpha of 0
    return of_x_0(prediction, lambda process, t: 1 / jnp.maximum(ratio(process, t) ** 2, 1 / gamma))


def truncated_snr(process: Process, t: jax.Array) -> jax.Array:
    """``max(SNR, 1)``, of errors in x_0."""
    return jnp.maximum(1 / ratio(process, t) ** 2, 1.0)


def _gain(process: Process, prediction: Prediction, t: jax.Array) -> jax.Array:
    """``dx_0 / dy`` at a given x_t: all predictions are affine."""
    t = jnp.asarray(t)
    shape = t.shape or (1,)
    zero, one = jnp.zeros(shape), jnp.ones(shape)
    return (prediction.x_0(process, one, zero, t) - prediction.x_0(process, zero, zero, t)).reshape(t.shape)


def _normal_quantile(u: jax.Array) -> jax.Array:
    # The ends of [0, 1) would be infinite.
    return jax.scipy.special.ndtri(jnp.clip(u, 1e-6, 1 - 1e-6))
