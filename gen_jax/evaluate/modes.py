"""How many modes of a toy mixture a sampler finds, and how evenly.

Metz et al. 2017 (arXiv:1611.02163), Srivastava et al. 2017 (arXiv:1705.07761), Lin et al. 2018 (arXiv:1712.04086). A
sample is *good* if it lies within 3 standard deviations of a centre. In the plane

    a perfect sampler's share of good samples is 1 - exp(-9 / 2) = 0.98889                                (1)

A mode is found if it has a good sample. With ``h`` the shares of the modes among the good samples and ``w`` the
mixture's weights,

    reverse KL = sum h log(h / w), nats                                                                   (2)

which of N samples of a perfect sampler is (K - 1) / 2N in the mean, and never 0. Against the data sets ``ring`` and
``grid`` it is the metric ``modes``, with intervals as any other; of a mixture of one's own they are
``half_samples(lambda i, _: modes(samples[i], mixture)._asdict(), n, n, replicates=100)``.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

REACH = 3.0  # standard deviations


class Mixture(NamedTuple):
    """Isotropic normal laws of one standard deviation in the plane (or in any space)."""

    centres: np.ndarray  # [K, D]
    deviation: float
    weights: np.ndarray  # [K]

    def sample(self, n: int, *, seed: int = 0) -> np.ndarray:
        """``n`` points ``[n, D]``."""
        generator = np.random.default_rng(seed)
        centres = self.centres[generator.choice(len(self.centres), n, p=self.weights)]
        return centres + self.deviation * generator.standard_normal(centres.shape)


class Modes(NamedTuple):
    """What a sampler does with a mixture's modes."""

    found: int
    """Modes with a good sample."""
    good: float
    """Share of good samples."""
    reverse_kl: float
    """(2), nats; infinite without a good sample."""


def ring(modes: int = 8, *, radius: float = 2.0, deviation: float = 0.02) -> Mixture:
    """``modes`` on a circle, evenly weighted."""
    angles = 2 * np.pi * np.arange(modes) / modes  # without the end, which would be the beginning
    centres = radius * np.stack([np.cos(angles), np.sin(angles)], -1)
    return Mixture(centres, deviation, np.full(modes, 1 / modes))


def grid(side: int = 5, *, spacing: float = 2.0, deviation: float = 0.05) -> Mixture:
    """``side`` by ``side`` modes about the origin, evenly weighted."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    return Mixture(centres, deviation, np.full(side**2, 1 / side**2))


MIXTURES: Mapping[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}
"""By the name of the data set."""


def modes(samples: np.ndarray, mixture: Mixture) -> Modes:
    """Modes found, share of good samples and (2) of ``samples [N, D]``.

    Raises:
      ValueError: if the samples are not points of the mixture's space, or not finite.
    """
    if samples.ndim != 2 or samples.shape[1] != mixture.centres.shape[1] or not len(samples):
        raise ValueError(f"expected samples [N, {mixture.centres.shape[1]}] with N > 0, got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("expected finite samples, got NaN or infinity; the sampler has diverged")
    distances = np.linalg.norm(samples[:, None].astype(np.float64) - mixture.centres, axis=-1)
    mode = distances.argmin(1)
    good = distances[np.arange(len(samples)), mode] < REACH * mixture.deviation
    histogram = np.bincount(mode[good], minlength=len(mixture.centres))
    share = histogram[histogram > 0] / max(int(good.sum()), 1)
    kl = float(np.sum(share * np.log(share / mixture.weights[histogram > 0]))) if share.size else float("inf")
    return Modes(int((histogram > 0).sum()), float(good.mean()), kl)
