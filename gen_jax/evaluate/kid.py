"""Kernel distance: the squared maximum mean discrepancy with a cubic kernel.

Binkowski et al. 2018, arXiv 1801.01401. For features of width ``d``, with ``k(x, y) = (x.y / d + 1)^3``,

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    x, x' (and y, y') two different examples   (1)

is unbiased, and so may be below 0. It does not depend on the number of examples, as the Frechet distance does. Pairs
cost memory, so that the figure is the mean over random subsets; the draws are torch-fidelity's.
"""

import numpy as np

DRAW_SEED = 2020  # torch-fidelity's


def kernel_distance(
    generated: np.ndarray,
    reference: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = DRAW_SEED,
) -> tuple[float, float]:
    """Mean and standard deviation of (1) over random subsets of ``generated [M, F]`` and ``reference [N, F]``.

    Args:
      generated: features.
      reference: features.
      subsets: number of subsets, each drawn without replacement.
      subset_size: examples in each, from either side; all, where a side has fewer.
      seed: of the draws.

    Raises:
      ValueError: with fewer than 2 examples on a side.
    """
    size = min(subset_size, len(generated), len(reference))
    if size < 2:
        raise ValueError(f"a kernel distance needs 2 examples or more on each side, got {size}")
    generator = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x = generated[generator.choice(len(generated), size, replace=False)]
        y = reference[generator.choice(len(reference), size, replace=False)]
        values.append(squared_discrepancy(x, y))
    return float(np.mean(values)), float(np.std(values))


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate (1) from features ``x [M, F]`` and ``y [N, F]``."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * float(_kernel(x, y).mean())


def _mean_of_pairs(x: np.ndarray) -> float:
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # ten times as fast as ** 3
