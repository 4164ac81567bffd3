"""Intervals: how much a figure would move with other examples of the same laws.

Politis and Romano 1994 (subsampling); Shao and Wu 1989 (the delete-half jackknife). A figure is computed again and
again on a random half of each set, drawn without replacement. For a mean of n values the variance over such halves is

    (1 - (n / 2) / n) s^2 / (n / 2) = s^2 / n                                                             (1)

which is that of the mean itself, and so to first order for any smooth figure. Drawn with replacement, as usual, a set
would hold examples several times: to nearest neighbours these are at distance 0, to a kernel they are pairs, and to a
covariance fewer examples, and the figures would be of something else. Half a set has a bias of its own, so that the
interval lies about the figure of the whole sets, and only its width comes from the halves.

Between two sets of one law a distance is of second order: it is as small as sampling makes it, halves make it twice as
large, and the interval is too wide, by two at the most.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist

import numpy as np

LEVEL = 0.95


def half_samples(
    figures: Callable[[np.ndarray, np.ndarray], Mapping[str, float]], m: int, n: int, *, replicates: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Every figure on ``replicates`` random halves, ``[replicates]`` by name.

    Args:
      figures: of the generated and the reference examples at some indices.
      m: generated examples.
      n: reference examples.
      replicates: at least 2; a standard deviation from 20 is known to about a sixth, from 100 to a fourteenth.
      seed: of the draws.

    Raises:
      ValueError: with fewer than 2 replicates, or 4 examples on a side.
    """
    if replicates < 2 or min(m, n) < 4:
        raise ValueError(
            f"an interval needs 2 replicates and 4 examples on each side, got {replicates}, and {m} and {n}"
        )
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(replicates):
        halves = (np.sort(generator.permutation(size)[: size // 2]) for size in (m, n))
        rows.append(figures(*halves))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def interval(value: float, replicates: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """The normal interval about ``value`` with the spread of its ``replicates``."""
    reach = NormalDist().inv_cdf((1 + level) / 2) * float(np.std(replicates, ddof=1))
    return value - reach, value + reach
