"""The score of Salimans et al. 2016, arXiv 1606.03498, on the probabilities of any classifier:

    exp of the mean over x of KL(p(y | x) || p(y)),    p(y) = mean over x of p(y | x)                      (1)

from 1 (all images look alike to the classifier) to the number of classes (all certain, all classes equally
often). Only with Inception's probabilities is it the Inception score.
"""

import numpy as np


def classifier_score(probabilities: np.ndarray, *, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of (1) over ``splits`` random parts of ``probabilities [N, K]``.

    Small parts score lower: only scores over equally large parts can be compared.
    """
    if probabilities.ndim != 2 or len(probabilities) < splits or splits < 1:
        raise ValueError(
            f"expected probabilities [N, K] of at least {max(splits, 1)} images, got shape"
            f" {probabilities.shape};"
            " generate more images, or use fewer splits"
        )
    p = probabilities.astype(np.float64)
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise ValueError("expected probabilities that sum to 1 over the last axis; apply a softmax to logits")
    p = p[np.random.default_rng(seed).permutation(len(p))]  # generated sets are often ordered by class
    scores = [_score(part) for part in np.array_split(p, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(p: np.ndarray) -> float:
    return float(np.exp(_x_log_x(p).sum(1).mean() - _x_log_x(p.mean(0)).sum()))


def _x_log_x(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.where(p > 0, p, 1.0))
