"""Whether generated examples are copies of the training examples.

With ``d_1(g) <= d_2(g)`` the distances of a generated example to its nearest training examples, ``r`` the nearest
one, and ``e(r)`` the distance of ``r`` to its own nearest other training example:

    authenticity = share of g with d_1(g) > e(r)                                                          (1)
    memorised    = share of g with d_1(g) < d_2(g) / 3                                                    (2)

(1): Alaa et al. 2022, arXiv 2102.08921: a copy is nearer to its original than the original is to anything else; a
perfect model of a law without atoms has about a half. (2): Yoon et al. 2023, "Diffusion probabilistic models generalize
when they fail to memorize". Both are of features, and against the training set: held-out examples say nothing here.
"""

from typing import NamedTuple

import numpy as np

from gen_jax.evaluate.precision_recall import blocks, checked, squared_radii

RATIO = 1 / 3  # of (2)


class Neighbours(NamedTuple):
    """Nearest reference examples of every generated one, nearest first."""

    indices: np.ndarray  # [M, k]
    distances: np.ndarray  # [M, k]


class Memorisation(NamedTuple):
    """Shares (1) and (2)."""

    authenticity: float
    memorised: float


def nearest(generated: np.ndarray, reference: np.ndarray, *, k: int = 1) -> Neighbours:
    """The ``k`` examples of ``reference [N, F]`` nearest to each of ``generated [M, F]``."""
    generated, reference = checked(generated, reference, k, of_both=False)
    indices, squares = np.empty((len(generated), k), np.int64), np.empty((len(generated), k))
    for rows, distances in blocks(generated, reference):
        near = np.argpartition(distances, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distances, near, 1), axis=1, kind="stable")
        indices[rows] = np.take_along_axis(near, order, 1)
        squares[rows] = np.take_along_axis(distances, indices[rows], 1)
    return Neighbours(indices, np.sqrt(np.maximum(squares, 0.0)))


def memorisation(generated: np.ndarray, reference: np.ndarray) -> Memorisation:
    """(1) and (2) of features ``generated [M, F]`` against those of the training set, ``reference [N, F]``."""
    found = nearest(generated, reference, k=2)
    _, centred = checked(generated, reference, 2, of_both=False)
    apart = np.sqrt(squared_radii(centred, (1,))[0])
    first, second = found.distances.T
    return Memorisation(float((first > apart[found.indices[:, 0]]).mean()), float((first < RATIO * second).mean()))
