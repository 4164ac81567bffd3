"""Points in the plane, made and not read: toy data on which a sampler's faults can be counted.

``ring``: 8 normal laws on a circle; ``grid``: 25 on a square (Metz et al. 2017, arXiv:1611.02163; Srivastava et al.
2017, arXiv:1705.07761): the mixtures whose samples ``gen_jax.evaluate.modes`` judges. ``swiss_roll``: a spiral
(scikit-learn's without its height, divided by 10):

    t ~ U(3 pi / 2, 9 pi / 2), x = (t cos t, t sin t) / 10 + noise of standard deviation 0.05

Every split is drawn by a generator of its own, which is the same for ever.
"""

import numpy as np

from gen_jax.data.arrays import Loaded, choose_split
from gen_jax.fields import REAL, Field

SIZES = {"train": 10_000, "test": 2_000}


def ring(split: str) -> Loaded:
    """``point [2]``: 8 modes of standard deviation 0.02 on a circle of radius 2."""
    angles = 2 * np.pi * np.arange(8) / 8
    return _mixture("ring", split, 2.0 * np.stack([np.cos(angles), np.sin(angles)], -1), 0.02, seed=1)


def grid(split: str) -> Loaded:
    """``point [2]``: 5 by 5 modes of standard deviation 0.05, 2 apart, about the origin."""
    line = 2.0 * np.arange(-2, 3)
    return _mixture("grid", split, np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2), 0.05, seed=2)


def swiss_roll(split: str) -> Loaded:
    """``point [2]`` on the spiral."""
    generator, n = _generator("swiss_roll", split, seed=3)
    t = np.pi * generator.uniform(1.5, 4.5, n)
    spiral = t[:, None] * np.stack([np.cos(t), np.sin(t)], -1) / 10
    return _points("swiss_roll", spiral + 0.05 * generator.standard_normal((n, 2)))


def _mixture(name: str, split: str, centres: np.ndarray, deviation: float, *, seed: int) -> Loaded:
    generator, n = _generator(name, split, seed)
    chosen = centres[generator.integers(len(centres), size=n)]
    return _points(name, chosen + deviation * generator.standard_normal((n, 2)))


def _generator(name: str, split: str, seed: int) -> tuple[np.random.Generator, int]:
    size = choose_split(name, SIZES, split)
    return np.random.default_rng((seed, list(SIZES).index(split))), size


def _points(name: str, x: np.ndarray) -> Loaded:
    return Loaded({"point": x.astype(np.float32)}, {"point": Field((2,), REAL)}, name, {})
