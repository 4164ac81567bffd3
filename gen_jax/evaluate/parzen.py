"""The likelihood of examples under a window around every sample: what GANs of 2014 were compared by.

Breuleux, Bengio and Vincent 2011; Goodfellow et al. 2014 (arXiv:1406.2661). With M samples s of D numbers each,

    log p(x) = log 1/M sum over s of N(x; s, h^2 I),   nats per example                                   (1)

and the bandwidth h that gives the highest mean on examples held out for it, of ten from 0.1 to 1 for pixels in [0, 1].

It is kept to read old tables, and is a poor measure (Theis, van den Oord and Bethge 2016, arXiv:1511.01844). In many
dimensions it needs more samples than there can be to come near the model's likelihood; it ranks models otherwise than
their likelihood does, and the centres of a k-means of the training data above samples of the data's own law. Its value
depends on M, on h and on the scale of x: figures compare at the same three alone.
"""

from collections.abc import Sequence

import numpy as np

from gen_jax.evaluate.precision_recall import blocks, checked

BANDWIDTHS = tuple(np.logspace(-1, 0, 10).tolist())
"""From 0.1 to 1, of pixels in [0, 1]."""


def parzen_log_likelihood(examples: np.ndarray, samples: np.ndarray, bandwidth: float) -> np.ndarray:
    """(1) of each of ``examples [N, D]`` under ``samples [M, D]``: nats, float64 ``[N]``.

    Raises:
      ValueError: if they are not finite points of one space, or the bandwidth is not above 0.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected above 0, got {bandwidth}")
    examples, samples = checked(examples, samples, 0)
    log_window = -0.5 * samples.shape[1] * np.log(2 * np.pi * bandwidth**2) - np.log(len(samples))
    found = np.empty(len(examples))
    for rows, squares in blocks(examples, samples):
        exponents = -np.maximum(squares, 0.0) / (2 * bandwidth**2)
        highest = exponents.max(axis=1, keepdims=True)
        found[rows] = highest[:, 0] + np.log(np.exp(exponents - highest).sum(axis=1)) + log_window
    return found


def choose_bandwidth(held_out: np.ndarray, samples: np.ndarray, candidates: Sequence[float] = BANDWIDTHS) -> float:
    """The candidate under which ``held_out [N, D]`` have the highest mean of (1); not of the examples to be judged."""
    means = [parzen_log_likelihood(held_out, samples, bandwidth).mean() for bandwidth in candidates]
    return candidates[int(np.argmax(means))]
