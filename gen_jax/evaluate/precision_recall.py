"""How much of what is generated is like the data, and how much of the data is generated.

Around each point of a set lies a ball that reaches to its k-th nearest neighbour in the set (itself not
counted). With ``N`` reference points and their radii ``r_i``, ``M`` generated points and their radii ``s_j``,
and distances ``d_ij``:

    precision = share of j with d_ij <= r_i for some i                                                    (1)
    recall    = share of i with d_ij <= s_j for some j                                                    (2)
    density   = 1 / (k M) * number of pairs with d_ij <= r_i                                              (3)
    coverage  = share of i with d_ij <= r_i for some j                                                    (4)

(1), (2): Kynkaanniemi et al. 2019, arXiv 1904.06991, with k = 3. (3), (4): Naeem et al. 2020, arXiv
2002.09797, with k = 5; density may exceed 1.

Distances are float64 in blocks of rows, so that 50,000 against 50,000 points need little memory. Radii reach a little
further than they should, by less than a part in a billion, so that "<=" holds for equal distances however they were
rounded.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 20  # distances at a time: 8 MB, which a cache may hold


class Overlap(NamedTuple):
    """Shares (1), (2) and (4), from 0 to 1, and density (3)."""

    precision: float
    recall: float
    density: float
    coverage: float


def overlap(
    generated: np.ndarray, reference: np.ndarray, *, neighbours: int = 3, density_neighbours: int = 5
) -> Overlap:
    """How two sets of features, ``generated [M, F]`` and ``reference [N, F]``, overlap.

    Args:
      generated: features.
      reference: features.
      neighbours: k of precision and recall.
      density_neighbours: k of density and coverage.
    """
    generated, reference = checked(generated, reference, max(neighbours, density_neighbours))
    slack = _slack(generated, reference)
    generated_radii = slack(squared_radii(generated, (neighbours,))[0])
    wide, narrow = slack(squared_radii(reference, (density_neighbours, neighbours)))
    precise = np.zeros(len(generated), bool)
    recalled = np.zeros(len(reference), bool)
    inside = np.zeros(len(reference), np.int64)
    for rows, distances in blocks(reference, generated):
        precise |= (distances <= narrow[rows, None]).any(0)
        recalled[rows] = (distances <= generated_radii).any(1)
        inside[rows] = np.count_nonzero(distances <= wide[rows, None], axis=1)
    density = inside.sum() / (density_neighbours * len(generated))
    return Overlap(float(precise.mean()), float(recalled.mean()), float(density), float((inside > 0).mean()))


def squared_radii(points: np.ndarray, neighbours: Sequence[int]) -> np.ndarray:
    """Squared distance of each of ``points [N, F]`` to its k-th nearest other point, for each k, ``[K, N]``."""
    ranks = [k - 1 for k in neighbours]
    radii = np.empty((len(ranks), len(points)))
    for rows, distances in blocks(points, points):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf  # not itself
        distances.partition(sorted(set(ranks)), axis=1)
        radii[:, rows] = distances[:, ranks].T
    return np.maximum(radii, 0.0)


def blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances, up to rounding, of blocks of rows of ``a`` to all of ``b``."""
    # |a|^2 + |b|^2 - 2 a.b as one product, since passes over the distances are what costs time.
    right = np.empty((b.shape[1] + 2, len(b)))
    np.multiply(b.T, -2, out=right[:-2])
    right[-2], right[-1] = 1, np.einsum("nf,nf->n", b, b)
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        block = a[rows]
        squares = np.einsum("nf,nf->n", block, block)[:, None]
        yield rows, np.hstack([block, squares, np.ones_like(squares)]) @ right


def _slack(a: np.ndarray, b: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Squared radii with room for the rounding of squared distances between ``a`` and ``b``."""
    rounding = 1e-13 * (np.einsum("nf,nf->n", a, a).max() + np.einsum("nf,nf->n", b, b).max())
    return lambda radii: radii * (1 + 1e-10) + rounding


def checked(
    generated: np.ndarray, reference: np.ndarray, neighbours: int, *, of_both: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 about a common centre; neighbours are looked for in both, or in the reference alone.

    Raises:
      ValueError: if they are no features of one width, not finite, or fewer than neighbours are wanted.
    """
    for points in (generated, reference):
        if points.ndim != 2 or points.shape[1] != reference.shape[1]:
            raise ValueError(f"expected features [N, F] of one width, got {generated.shape} and {reference.shape}")
        if (of_both or points is reference) and len(points) <= neighbours:
            raise ValueError(
                f"the {neighbours} nearest neighbours need more than {neighbours} examples on each side, got"
                f" {len(points)}; generate more, or ask for fewer neighbours"
            )
        if not np.isfinite(points).all():
            raise ValueError("expected finite features, got NaN or infinity; look at the examples that they are of")
    centre = reference.mean(0, dtype=np.float64)  # a common offset would cost accuracy and changes nothing
    return np.subtract(generated, centre, dtype=np.float64), np.subtract(reference, centre, dtype=np.float64)
