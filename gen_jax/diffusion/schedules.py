"""Processes: chains of steps, and paths in continuous time.

Ho, Jain and Abbeel 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672), Rombach et al. 2022
(arXiv:2112.10752) and Lin et al. 2023 (arXiv:2305.08891) for the chains; Song et al. 2021 (arXiv:2011.13456) for (1) to
(3), Karras et al. 2022 (arXiv:2206.00364) for (4), Lipman et al. 2023 (arXiv:2210.02747) and Liu et al. 2023
(arXiv:2209.03003) for (5), Jabri et al. 2023 (arXiv:2212.11972) and Chen 2023 (arXiv:2301.10972) for (6).

With L_t = b t + (B - b) t^2 / 2, the integral of a rate that grows from b to B over a time of 1:

(1) VP        alpha = exp(-L / 2),  sigma^2 = 1 - exp(-L);  or the quarter circle  cos(pi t / 2), sin(pi t / 2)
(2) sub-VP    alpha = exp(-L / 2),  sigma = 1 - exp(-L)
(3) VE        alpha = 1,            sigma = m (M / m)^t;  the data are at t = -inf
(4) EDM       alpha = 1,            sigma = t
(5) rectified flow  alpha = 1 - t,  sigma = t
(6) VP        alpha^2 = (S(b) - S(a + (b - a) t)) / (S(b) - S(a)),  S(u) the sigmoid of u / temperature

A discrete chain has times t = 0 .. T-1, where T-1 is nearly pure noise, and t = -1 is the data themselves. On it a step
from t to s = t - 1 has variance beta_t; for any other s it is a step of a shorter chain.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.diffusion.process import Process


def discrete(betas: np.ndarray) -> Process:
    """The chain whose step ``t`` has variance ``betas[t]``, computed in float64."""
    alpha_bar = np.concatenate([[1.0], np.cumprod(1.0 - np.asarray(betas, np.float64))])
    alpha, sigma = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)
    return Process(lambda t: jnp.asarray(alpha)[t + 1], lambda t: jnp.asarray(sigma)[t + 1])


def linear_betas(timesteps: int, *, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """Evenly spaced, as in Ho et al. for 1000 steps; other numbers of steps want other ends."""
    return np.linspace(first, last, timesteps, dtype=np.float64)


def scaled_linear_betas(timesteps: int, *, first: float = 0.00085, last: float = 0.012) -> np.ndarray:
    """Evenly spaced square roots, as in latent diffusion."""
    return np.linspace(np.sqrt(first), np.sqrt(last), timesteps, dtype=np.float64) ** 2


def sigmoid_betas(timesteps: int, *, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """A sigmoid between -6 and 6, from ``first`` to ``last``, as in DDIM's code; :func:`vp_sigmoid` is another."""
    return first + (last - first) / (1.0 + np.exp(-np.linspace(-6.0, 6.0, timesteps, dtype=np.float64)))


def cosine_betas(timesteps: int, *, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """``alpha_bar`` a squared cosine of time, for any number of steps; no beta above ``largest``."""
    time = np.linspace(0.0, 1.0, timesteps + 1, dtype=np.float64)
    alpha_bar = np.cos((time + offset) / (1.0 + offset) * np.pi / 2) ** 2
    return np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], largest)


def zero_terminal_snr(betas: np.ndarray, *, left: float = 0.0) -> np.ndarray:
    """The chain with ``alpha`` shifted and scaled so that its last is 0, and its first stays.

    For solvers that divide by it, ``left`` is put in place of the last ``alpha^2``; ``2**-24`` is usual.
    """
    alpha = np.sqrt(np.cumprod(1.0 - np.asarray(betas, np.float64)))
    alpha_bar = ((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2
    alpha_bar[-1] = left
    return 1.0 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])


def vp(*, least: float = 0.1, most: float = 20.0) -> Process:
    """(1) with a rate growing linearly from ``least`` to ``most``, for t in [0, 1]."""

    def integral(t: jax.Array) -> jax.Array:
        return least * t + (most - least) * t**2 / 2

    return Process(
        lambda t: jnp.exp(-integral(t) / 2),
        lambda t: jnp.sqrt(-jnp.expm1(-integral(t))),
        lambda ratio: _integral_time(jnp.log1p(ratio**2), least, most),
    )


def vp_cosine() -> Process:
    """(1), the quarter circle, for t in [0, 1]."""
    return Process(
        lambda t: jnp.cos(jnp.pi / 2 * t),
        lambda t: jnp.sin(jnp.pi / 2 * t),
        lambda ratio: jnp.arctan(ratio) * (2 / jnp.pi),
    )


def vp_sigmoid(*, start: float = -3.0, end: float = 3.0, temperature: float = 1.0) -> Process:
    """(6), for t in [0, 1): ``alpha^2`` falls along a sigmoid's middle; nothing of the data is left at 1."""
    low, high = (float(1 / (1 + np.exp(-a / temperature))) for a in (start, end))

    def fallen(t: jax.Array) -> jax.Array:
        share = (jax.nn.sigmoid((start + (end - start) * t) / temperature) - low) / (high - low)
        return jnp.clip(share, 0.0, 1.0)  # but for rounding

    def time(ratio: jax.Array) -> jax.Array:
        reached = low + (high - low) * ratio**2 / (1 + ratio**2)
        return (temperature * jnp.log(reached / (1 - reached)) - start) / (end - start)

    return Process(lambda t: jnp.sqrt(1 - fallen(t)), lambda t: jnp.sqrt(fallen(t)), time)


def sub_vp(*, least: float = 0.1, most: float = 20.0) -> Process:
    """(2), for t in [0, 1]; its noise is always below that of :func:`vp`."""
    preserving = vp(least=least, most=most)

    def time(ratio: jax.Array) -> jax.Array:
        alpha = 2 / (ratio + jnp.sqrt(ratio**2 + 4))  # of (1 - alpha^2) / alpha = ratio
        return _integral_time(-2 * jnp.log(alpha), least, most)

    return Process(preserving.alpha, lambda t: preserving.sigma(t) ** 2, time)


def ve(*, least: float = 0.01, most: float = 50.0) -> Process:
    """(3), for t in [0, 1], with ``sigma`` growing geometrically from ``least`` to ``most``."""
    rate = float(np.log(most / least))
    return Process(jnp.ones_like, lambda t: least * jnp.exp(rate * t), lambda ratio: jnp.log(ratio / least) / rate)


def edm() -> Process:
    """(4): the time is the standard deviation of the noise."""
    return Process(jnp.ones_like, lambda t: t, lambda ratio: ratio)


def rectified_flow() -> Process:
    """(5), for t in [0, 1]: straight lines from data at 0 to noise at 1."""
    return Process(lambda t: 1 - t, lambda t: t, lambda ratio: ratio / (1 + ratio))


def _integral_time(integral: jax.Array, least: float, most: float) -> jax.Array:
    # The root of L = b t + (B - b) t^2 / 2 in the form that loses nothing at small L.
    return 2 * integral / (least + jnp.sqrt(least**2 + 2 * (most - least) * integral))
