"""Which times a sampler visits: strictly decreasing, ``[steps + 1]``; of a chain of ``T`` steps, the last one is -1.

Song, Meng and Ermon 2020 (arXiv:2010.02502), Lin et al. 2023 (arXiv:2305.08891), Karras et al. 2022
(arXiv:2206.00364), Lu et al. 2022 (arXiv:2211.01095).

(1) leading     i floor(T / S), i = 0 .. S-1           begins at 0, ends short of T-1
(2) trailing    round((i + 1) T / S) - 1               ends at T-1: nothing of the signal is left where it starts
(3) quadratic   floor(0.8 T (i / (S - 1))^2)           dense near the data

and in continuous time, from a first to a last time, where the last may be that of the data:

(4) even          evenly spaced
(5) karras        t^(1 / rho) evenly spaced
(6) even_log_snr  log(sigma / alpha) evenly spaced
(7) cosine        (1 + cos(pi i / S)) / 2 of the way,  dense at both ends (Chebyshev)
"""

import jax.numpy as jnp
import numpy as np

from gen_jax.diffusion.process import Process


def leading(timesteps: int, steps: int) -> np.ndarray:
    """(1)."""
    return _descending(np.arange(steps) * (timesteps // max(steps, 1)), timesteps, steps)


def trailing(timesteps: int, steps: int) -> np.ndarray:
    """(2)."""
    return _descending(np.round(np.arange(1, steps + 1) * (timesteps / max(steps, 1))) - 1, timesteps, steps)


def quadratic(timesteps: int, steps: int) -> np.ndarray:
    """(3)."""
    return _descending(np.floor(np.linspace(0.0, np.sqrt(0.8 * timesteps), steps) ** 2 + 1e-9), timesteps, steps)


def even(first: float, last: float, steps: int) -> np.ndarray:
    """(4)."""
    return np.linspace(first, last, steps + 1)


def karras(first: float, last: float, steps: int, *, rho: float = 7.0, data: float | None = 0.0) -> np.ndarray:
    """(5): ``steps`` times from ``first`` to ``last`` and then ``data``, or if that is None, one time more between."""
    count = steps if data is not None else steps + 1
    times = np.linspace(first ** (1 / rho), last ** (1 / rho), count) ** rho
    return times if data is None else np.append(times, data)


def cosine(first: float, last: float, steps: int) -> np.ndarray:
    """(7)."""
    return last + (first - last) * (1 + np.cos(np.pi * np.arange(steps + 1) / steps)) / 2


def even_log_snr(process: Process, first: float, last: float, steps: int) -> np.ndarray:
    """(6), for a process of continuous time; both ends must have noise."""
    if process.time is None:
        raise ValueError("even steps of log(alpha / sigma) need a process of continuous time, this one is a chain")
    start, end = (process.sigma(jnp.asarray(t)) / process.alpha(jnp.asarray(t)) for t in (first, last))
    inner = np.asarray(process.time(jnp.geomspace(start, end, steps + 1)))[1:-1]
    return np.concatenate([[first], inner, [last]])


def _descending(ascending: np.ndarray, timesteps: int, steps: int) -> np.ndarray:
    if steps < 1 or np.any(np.diff(ascending) < 1):
        raise ValueError(
            f"{steps} different times of a chain of {timesteps} steps cannot be had with this spacing; "
            f"take between 1 and {timesteps} steps, and fewer with quadratic spacing"
        )
    return np.concatenate([ascending[::-1], [-1]]).astype(np.int32)
