"""What a figure would be with endless examples.

Chong and Forsyth 2020, arXiv 1911.07023. The bias of a Frechet distance or a score over ``n`` generated examples is, to
first order, proportional to ``1 / n``, with a factor that depends on the model. So a line through the figures of
random subsets of several sizes,

    figure(n) = figure_infinity + slope / n                                                               (1)

meets ``1 / n = 0`` at the figure without that bias. The reference stays as it is, and so does the bias that its own
size causes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SIZES = 15  # of the paper
SMALLEST = 5000  # of the paper; a tenth of the examples, where there are fewer than 50,000


class Extrapolation(NamedTuple):
    """The line (1), with the figures that it is drawn through."""

    value: float
    """At infinity."""
    slope: float
    sizes: np.ndarray
    values: np.ndarray


def extrapolate(
    figure: Callable[[np.ndarray], float],
    n: int,
    *,
    sizes: int = SIZES,
    smallest: int | None = None,
    seed: int = 0,
) -> Extrapolation:
    """The figure of endless examples, by (1).

    Args:
      figure: of the examples at some indices ``[k]`` of ``range(n)``.
      n: examples there are.
      sizes: number of sizes, evenly spaced up to ``n``, each a fresh draw without replacement.
      smallest: of these sizes; 5000 or a tenth of ``n``, whichever is smaller, if not given.
      seed: of the draws.

    Raises:
      ValueError: if there are not two different sizes.
    """
    least = min(SMALLEST, n // 10) if smallest is None else smallest
    steps = np.unique(np.linspace(least, n, sizes).astype(np.int64))
    if least < 2 or len(steps) < 2:
        raise ValueError(f"an extrapolation needs examples for two sizes of 2 or more, got {n}; generate 20 or more")
    generator = np.random.default_rng(seed)
    values = np.array([figure(generator.permutation(n)[:size]) for size in steps])
    slope, value = np.polyfit(1 / steps, values, 1)
    return Extrapolation(float(value), float(slope), steps, values)
