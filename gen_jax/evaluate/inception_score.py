"""The score of Salimans et al. 2016, arXiv 1606.03498, on the probabilities of any classifier:

    exp of the mean over x of KL(p(y | x) || p(y)),    p(y) = mean over x of p(y | x)                      (1)

from 1 (all images look alike to the classifier) to the number of classes (all certain, all classes equally often). Only
with Inception's probabilities is it the Inception score. A set is cut into parts, shuffled beforehand, since generated
sets are often ordered by class; the score is the mean over the parts. The shuffle is that of torch-fidelity, and so are
the parts.

(1) needs two sums over each part, of p and of p log p: a set can stream by in any order and in any batches.
"""

from typing import NamedTuple

import numpy as np

SHUFFLE_SEED = 2020  # torch-fidelity's


class ScoreSums(NamedTuple):
    """The sums over each of ``S`` parts; constant in memory, whatever the size of the set."""

    n: np.ndarray  # [S]
    probabilities: np.ndarray  # [S, K]
    entropy: np.ndarray  # [S], of p log p, nats

    def score(self) -> tuple[float, float]:
        """Mean and standard deviation of (1) over the parts."""
        marginal = self.probabilities / self.n[:, None]
        scores = np.exp(self.entropy / self.n - _x_log_x(marginal).sum(1))
        return float(scores.mean()), float(scores.std())


def no_sums(splits: int, classes: int) -> ScoreSums:
    """Sums to start from."""
    return ScoreSums(np.zeros(splits, np.int64), np.zeros((splits, classes)), np.zeros(splits))


def parts(n: int, *, splits: int, seed: int = SHUFFLE_SEED) -> np.ndarray:
    """Which part each of ``n`` examples is in, ``[n]``.

    Raises:
      ValueError: if a part would be empty.
    """
    if splits < 1 or n < splits:
        raise ValueError(
            f"expected at least {max(splits, 1)} images for {splits} splits of a score, got {n};"
            " generate more images, or use fewer splits"
        )
    part = np.empty(n, np.int64)
    part[np.random.RandomState(seed).permutation(n)] = (np.arange(n) * splits + splits - 1) // n
    return part


def add(sums: ScoreSums, part: np.ndarray, probabilities: np.ndarray) -> ScoreSums:
    """``sums`` with a batch of ``probabilities [B, K]`` that are of ``part [B]``.

    Raises:
      ValueError: if they are no probabilities.
    """
    p = probabilities.astype(np.float64)
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise ValueError("expected probabilities that sum to 1 over the last axis; apply a softmax to logits")
    n, totals, entropy = sums.n.copy(), sums.probabilities.copy(), sums.entropy.copy()
    np.add.at(n, part, 1)
    np.add.at(totals, part, p)
    np.add.at(entropy, part, _x_log_x(p).sum(1))
    return ScoreSums(n, totals, entropy)


def classifier_score(probabilities: np.ndarray, *, splits: int = 10, seed: int = SHUFFLE_SEED) -> tuple[float, float]:
    """Mean and standard deviation of (1) over ``splits`` random parts of ``probabilities [N, K]``.

    Small parts score lower: only scores over equally large parts can be compared.

    Args:
      probabilities: of the classes.
      splits: number of parts.
      seed: of the shuffle.

    Raises:
      ValueError: if they are no probabilities, or there are fewer than parts.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"expected probabilities [N, K] of at least {splits} images, got shape {probabilities.shape}")
    part = parts(len(probabilities), splits=splits, seed=seed)
    return add(no_sums(splits, probabilities.shape[1]), part, probabilities).score()


def _x_log_x(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.where(p > 0, p, 1.0))
