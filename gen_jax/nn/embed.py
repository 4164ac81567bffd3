"""Embeddings of a time and a class in one vector.

Vaswani et al. 2017 (arXiv 1706.03762), the sinusoids; Ho, Jain and Abbeel 2020 (arXiv 2006.11239), the two layers;
Tancik et al. 2020 (arXiv 2006.10739), random frequencies. With ``width`` w and i from 0 to w / 2 - 1:

    sinusoids        sin(t f_i), then cos(t f_i),        f_i = 1e-4^(i / (w / 2 - 1))                              (1)
    cosines first    cos(t f_i), then sin(t f_i),        f_i = 1e-4^(i / (w / 2))                                  (2)
    random           sin(2 pi t f_i), then cos(2 pi t f_i),    f_i ~ N(0, scale^2), drawn once                     (3)

(1) is Ho's and Song's, (2) that of Dhariwal and Nichol (arXiv 2105.05233) and of DiT, (3) that of NCSN++. All are made
in float32 from whatever type, and followed by layers in the type of the parameters.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.layers import WEIGHTS


class TimeEmbedding(nnx.Module):
    """``t [B], label [B] -> [B, width]``: two dense layers over (1), plus a row of a table for the class.

    Args:
      sinusoids: how many, even.
      width: of the embedding.
      classes: 0 for times only; else a label takes its row, and no label takes the row beyond the last class.
    """

    def __init__(self, sinusoids: int, width: int, *, classes: int = 0, rngs: nnx.Rngs):
        self.sinusoids, self.classes = sinusoids, classes
        self.first = nnx.Linear(sinusoids, width, kernel_init=WEIGHTS, rngs=rngs)
        self.second = nnx.Linear(width, width, kernel_init=WEIGHTS, rngs=rngs)
        self.table = nnx.Param(jax.random.normal(rngs.params(), (classes + 1, width))) if classes else None

    def __call__(self, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Sinusoids of ``t`` in float32, all else in the type of the parameters."""
        h = sinusoidal(t, self.sinusoids).astype(self.first.kernel.dtype)
        h = self.second(jax.nn.silu(self.first(h)))
        if self.table is None:
            return h
        rows = jnp.full(t.shape, self.classes) if label is None else label
        return h + self.table[...][rows]


class Sinusoids(nnx.Module):
    """(1) of as many values as a network's ``base``: ``[B] -> [B, width]``."""

    def __init__(self, base: int, *, rngs: nnx.Rngs):
        self.width = base

    def __call__(self, t: jax.Array) -> jax.Array:
        """See the class."""
        return sinusoidal(t, self.width)


class RandomSinusoids(nnx.Module):
    """(3) at as many frequencies as a network's ``base``, which are a buffer: ``[B] -> [B, width]``, twice as wide."""

    def __init__(self, base: int, *, scale: float = 16.0, rngs: nnx.Rngs):
        self.width = 2 * base
        self.frequency = nnx.BatchStat(scale * jax.random.normal(rngs.params(), (base,)))

    def __call__(self, t: jax.Array) -> jax.Array:
        """See the class."""
        angle = 2 * math.pi * t.astype(jnp.float32)[:, None] * self.frequency[...]
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def sinusoidal(time: jax.Array, width: int) -> jax.Array:
    """(1): ``time [B]`` to sines, then cosines, of frequencies from 1 down to 1e-4: ``[B, width]``, ``width`` even."""
    half = width // 2
    frequency = jnp.exp(-math.log(1e4) * jnp.arange(half) / (half - 1))
    angle = time.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def cosines_first(time: jax.Array, width: int) -> jax.Array:
    """(2): ``time [B]`` to cosines, then sines, of frequencies from 1 to just above 1e-4: ``[B, width]``."""
    half = width // 2
    frequency = jnp.exp(-math.log(1e4) * jnp.arange(half) / half)
    angle = time.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def class_table(classes: int, width: int, rngs: nnx.Rngs) -> nnx.Embed | None:
    """An embedding of each class, drawn from N(0, 1); None without classes."""
    if not classes:
        return None
    return nnx.Embed(classes, width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)


def appended(x: jax.Array, told: jax.Array | None) -> jax.Array:
    """``x [B, ..., A]`` and behind it ``told [B, ..., D]``, in the type of ``x``; ``x`` alone where there is none."""
    return x if told is None else jnp.concatenate([x, told.astype(x.dtype)], axis=-1)


def rows(table: jax.Array, label: jax.Array | None, batch: int) -> jax.Array:
    """Rows of ``table [classes, width]``, zero for a label beyond them and for none: ``[B, width]``."""
    if label is None:
        return jnp.zeros((batch, table.shape[1]), table.dtype)
    return table.at[label].get(mode="fill", fill_value=0)
