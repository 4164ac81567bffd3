"""Which times of a chain of ``T`` steps a sampler visits: strictly decreasing, ``[steps + 1]``, the last one -1.

Song, Meng and Ermon 2020 (arXiv:2010.02502), Lin et al. 2023 (arXiv:2305.08891).

(1) leading     i floor(T / S), i = 0 .. S-1           begins at 0, ends short of T-1
(2) trailing    round((i + 1) T / S) - 1               ends at T-1: nothing of the signal is left where it starts
(3) quadratic   floor(0.8 T (i / (S - 1))^2)           dense near the data
"""

import numpy as np


def leading(timesteps: int, steps: int) -> np.ndarray:
    """(1)."""
    return _descending(np.arange(steps) * (timesteps // max(steps, 1)), timesteps, steps)


def trailing(timesteps: int, steps: int) -> np.ndarray:
    """(2)."""
    return _descending(np.round(np.arange(1, steps + 1) * (timesteps / max(steps, 1))) - 1, timesteps, steps)


def quadratic(timesteps: int, steps: int) -> np.ndarray:
    """(3)."""
    return _descending(np.floor(np.linspace(0.0, np.sqrt(0.8 * timesteps), steps) ** 2 + 1e-9), timesteps, steps)


def _descending(ascending: np.ndarray, timesteps: int, steps: int) -> np.ndarray:
    if steps < 1 or np.any(np.diff(ascending) < 1):
        raise ValueError(
            f"{steps} different times of a chain of {timesteps} steps cannot be had with this spacing; "
            f"take between 1 and {timesteps} steps, and fewer with quadratic spacing"
        )
    return np.concatenate([ascending[::-1], [-1]]).astype(np.int32)
