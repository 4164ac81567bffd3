"""Frechet distance between two sets of features, each taken for a Gaussian.

Heusel et al. 2017, arXiv 1706.08500. With means ``m`` and covariances ``C`` (normalised by ``n - 1``),

    d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)                                                  (1)

The eigenvalues of ``C1 C2`` are those of the symmetric ``C1^(1/2) C2 C1^(1/2)``, which are the squared
singular values of ``C1^(1/2) C2^(1/2)``. So

    tr (C1 C2)^(1/2) = the sum of the singular values of C1^(1/2) C2^(1/2)                                (2)

which, unlike the roots of eigenvalues, stays accurate where a covariance has not full rank: rounding errors
are not drawn the root of.

Everything is in float64. Moments of parts are merged by the rule of Chan, Golub and LeVeque 1979: with
``delta = m2 - m1``,

    S = S1 + S2 + delta delta' n1 n2 / (n1 + n2)                                                          (3)

for the sums ``S`` of squared deviations, which loses nothing when the mean is large against the deviations.
"""

import functools
import warnings
from typing import NamedTuple

import numpy as np

_BLOCK = 8192  # examples per step of the accumulation


class Moments(NamedTuple):
    """Size, mean and summed squared deviations of a set of features."""

    n: int
    mean: np.ndarray  # [F]
    scatter: np.ndarray  # [F, F]

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance ``[F, F]``."""
        return self.scatter / (self.n - 1)


def moments(features: np.ndarray) -> Moments:
    """Moments of ``features [N, F]``."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"expected features [N, F] with N > 0, got shape {features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("expected finite features, got NaN or infinity; look at the images that they are of")
    blocks = (features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK))
    return functools.reduce(merge, (_moments_of_block(block) for block in blocks))


def _moments_of_block(block: np.ndarray) -> Moments:
    mean = block.mean(0, dtype=np.float64)
    deviations = block.astype(np.float64) - mean
    rest = deviations.mean(0)  # what rounding left of the mean
    deviations -= rest
    return Moments(len(block), mean + rest, deviations.T @ deviations)


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two sets, by (3)."""
    n = a.n + b.n
    delta = b.mean - a.mean
    return Moments(n, a.mean + delta * (b.n / n), a.scatter + b.scatter + np.outer(delta, delta) * (a.n * b.n / n))


def frechet_distance(generated: np.ndarray | Moments, reference: np.ndarray | Moments) -> float:
    """The distance (1) between two sets of features ``[N, F]``, or their moments.

    It shrinks as sets grow: only distances over equally many examples can be compared.

    Raises:
      ValueError: with fewer than 2 examples, or features that are not finite.
    """
    a, b = (x if isinstance(x, Moments) else moments(x) for x in (generated, reference))
    width = len(a.mean)
    if len(b.mean) != width:
        raise ValueError(f"expected features of one width, got {width} and {len(b.mean)}")
    for x in (a, b):
        if x.n < 2:
            raise ValueError(f"a Frechet distance needs 2 examples or more on each side, got {x.n}")
        if x.n < width:
            warnings.warn(
                f"a Frechet distance from {x.n} examples of {width} features: the covariance has not full"
                " rank, and"
                " the distance says more of the number of examples than of the images; use more",
                stacklevel=2,
            )
    overlap = np.linalg.svd(_root(a.covariance) @ _root(b.covariance), compute_uv=False).sum()  # (2)
    distance = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    return max(0.0, float(distance))  # a squared metric; below 0 is rounding


def _root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root; eigenvalues that cannot be told from 0 are 0."""
    values, vectors = np.linalg.eigh(covariance)
    smallest = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return (vectors * np.sqrt(np.where(values > smallest, values, 0.0))) @ vectors.T
