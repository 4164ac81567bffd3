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

Distances are float64 in blocks of rows, so that 50,000 against 50,000 points need little memory. Points that
are nearer than rounding can tell are at distance 0, and radii reach a part in a billion further, so that "<="
holds for equal distances however they were computed.
"""

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 22  # distances at a time
_SLACK = 1 + 1e-9


def precision_and_recall(generated: np.ndarray, reference: np.ndarray, *, neighbours: int = 3) -> tuple[float, float]:
    """Precision (1) and recall (2) of features ``generated [M, F]`` against ``reference [N, F]``."""
    generated, reference = _checked(generated, reference, neighbours)
    radii = squared_radii(generated, neighbours) * _SLACK
    reference_radii = squared_radii(reference, neighbours) * _SLACK
    precise = np.zeros(len(generated), bool)
    recalled = np.zeros(len(reference), bool)
    for rows, distances in _blocks(reference, generated):
        precise |= (distances <= reference_radii[rows, None]).any(0)
        recalled[rows] = (distances <= radii).any(1)
    return float(precise.mean()), float(recalled.mean())


def density_and_coverage(generated: np.ndarray, reference: np.ndarray, *, neighbours: int = 5) -> tuple[float, float]:
    """Density (3) and coverage (4) of features ``generated [M, F]`` against ``reference [N, F]``."""
    generated, reference = _checked(generated, reference, neighbours)
    radii = squared_radii(reference, neighbours) * _SLACK
    inside = np.zeros(len(reference), np.int64)
    for rows, distances in _blocks(reference, generated):
        inside[rows] = (distances <= radii[rows, None]).sum(1)
    return float(inside.sum() / (neighbours * len(generated))), float((inside > 0).mean())


def squared_radii(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Squared distance ``[N]`` of each of ``points [N, F]`` to its ``neighbours``-th nearest other point."""
    radii = np.empty(len(points))
    for rows, distances in _blocks(points, points):
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf  # not itself
        radii[rows] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    return radii


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of blocks of rows of ``a`` to all of ``b``."""
    norms_a, norms_b = np.sum(a**2, 1), np.sum(b**2, 1)
    step = max(1, _BLOCK // len(b))
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        scale = norms_a[rows, None] + norms_b
        distances = a[rows] @ b.T
        distances *= -2
        distances += scale
        distances[distances < 1e-13 * scale] = 0.0
        yield rows, distances


def _checked(generated: np.ndarray, reference: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    for points in (generated, reference):
        if points.ndim != 2 or points.shape[1] != reference.shape[1]:
            raise ValueError(f"expected features [N, F] of one width, got {generated.shape} and {reference.shape}")
        if len(points) <= neighbours:
            raise ValueError(
                f"the {neighbours} nearest neighbours need more than {neighbours} examples on each side, got"
                f" {len(points)}; generate more, or ask for fewer neighbours"
            )
        if not np.isfinite(points).all():
            raise ValueError("expected finite features, got NaN or infinity; look at the images that they are of")
    centre = reference.mean(0, dtype=np.float64)  # a common offset would cost accuracy and changes nothing
    return generated.astype(np.float64) - centre, reference.astype(np.float64) - centre
