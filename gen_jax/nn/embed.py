"""Embeddings of a time and a class in one vector.

Vaswani et al. 2017 (arXiv 1706.03762), the sinusoids; Ho, Jain and Abbeel 2020 (arXiv 2006.11239), the two layers.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.layers import WEIGHTS


class TimeEmbedding(nnx.Module):
    """``t [B], label [B] -> [B, width]``: two dense layers over sinusoids, plus a row of a table for the class.

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


def sinusoidal(time: jax.Array, width: int) -> jax.Array:
    """``time [B]`` to sines, then cosines, of frequencies from 1 down to 1e-4: ``[B, width]``, ``width`` even."""
    half = width // 2
    frequency = jnp.exp(-math.log(1e4) * jnp.arange(half) / (half - 1))
    angle = time.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
