"""Mean and covariance of features, of a set at once or as it streams by.

Moments of parts are merged by the rule of Chan, Golub and LeVeque 1979: with ``delta = m2 - m1``,

    S = S1 + S2 + delta delta' n1 n2 / (n1 + n2)                                                          (1)

for the sums ``S`` of squared deviations. Everything is float64 and centred before it is squared, so that nothing is
lost where the mean is large against the deviations, and the result does not depend on how a set was cut.
"""

import functools
from typing import NamedTuple

import numpy as np

_BLOCK = 8192  # examples per step of the accumulation


class Moments(NamedTuple):
    """Size, mean and summed squared deviations of a set of features; constant in memory, whatever the size."""

    n: int
    mean: np.ndarray  # [F]
    scatter: np.ndarray  # [F, F]

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance ``[F, F]``; needs two examples."""
        return self.scatter / (self.n - 1)


def moments(features: np.ndarray) -> Moments:
    """Moments of ``features [N, F]``, of any floating-point type.

    Raises:
      ValueError: if they are no features or not finite.
    """
    if features.ndim != 2 or not len(features):
        raise ValueError(f"expected features [N, F] with N > 0, got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("expected finite features, got NaN or infinity; look at the examples that they are of")
    blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
    return functools.reduce(merge, (_moments_of_block(block) for block in blocks))


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two sets, by (1)."""
    n = a.n + b.n
    delta = b.mean - a.mean
    return Moments(n, a.mean + delta * (b.n / n), a.scatter + b.scatter + np.outer(delta, delta) * (a.n * b.n / n))


def _moments_of_block(block: np.ndarray) -> Moments:
    mean = block.mean(0, dtype=np.float64)
    deviations = block.astype(np.float64) - mean
    rest = deviations.mean(0)  # what rounding left of the mean
    deviations -= rest
    return Moments(len(block), mean + rest, deviations.T @ deviations)
