"""A residual perceptron that denoises what is no image.

He et al. 2016 (arXiv 1603.05027), with a normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450) before each branch
and the noise told as in :mod:`gen_jax.nn.residual`. An example of any shape is flattened, and what comes out restored:

    h = W x                                                                                                    (1)
    h <- h + W_2 dropout(silu(W_1 silu(norm(h)) + V condition)),   so many times                               (2)
    y = W_3 silu(norm(h))                                                                                      (3)
    condition = silu(W silu(W sinusoidal(t)) + class row)                                                      (4)

W_2 and W_3 start at zero.
"""

import math

import jax
from flax import nnx

from gen_jax.nn.embed import TimeEmbedding
from gen_jax.nn.layers import WEIGHTS, ZERO, dropped


class ResidualMLP(nnx.Module):
    """``x [B, *shape], t [B], label [B] -> [B, *shape]``.

    Args:
      shape: of an example.
      width: of h, even; the condition (4) is as wide.
      blocks: how many times (2).
      dropout: share of activations dropped in every block while training.
      classes: 0 for a network without labels; else one row more than classes, the last for no label.
      outputs: length of the last axis of what comes out; None for that of ``shape``.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        width: int,
        blocks: int,
        dropout: float = 0.0,
        classes: int = 0,
        outputs: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.shape = shape if outputs is None else (*shape[:-1], outputs)
        self.embedding = TimeEmbedding(width, width, classes=classes, rngs=rngs)
        self.stem = nnx.Linear(math.prod(shape), width, kernel_init=WEIGHTS, rngs=rngs)
        self.blocks = nnx.List(ResidualLayer(width, dropout, rngs=rngs) for _ in range(blocks))
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.output = nnx.Linear(width, math.prod(self.shape), kernel_init=ZERO, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; ``t`` counts steps, 0 .. 1000."""
        h = self.stem(x.reshape(len(x), -1))
        condition = jax.nn.silu(self.embedding(t, label).astype(h.dtype))
        for i, block in enumerate(self.blocks):
            h = block(h, condition, jax.random.fold_in(key, i) if train and key is not None else None)
        return self.output(jax.nn.silu(self.norm(h))).reshape(len(x), *self.shape)


class ResidualLayer(nnx.Module):
    """(2)."""

    def __init__(self, width: int, dropout: float, *, rngs: nnx.Rngs):
        self.dropout = dropout
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.inner = nnx.Linear(width, width, kernel_init=WEIGHTS, rngs=rngs)
        self.shift = nnx.Linear(width, width, use_bias=False, kernel_init=WEIGHTS, rngs=rngs)
        self.outer = nnx.Linear(width, width, kernel_init=ZERO, rngs=rngs)

    def __call__(self, h: jax.Array, condition: jax.Array, key: jax.Array | None) -> jax.Array:
        """``h [B, width]``, ``condition [B, width]``; drops nothing without a key."""
        inner = self.inner(jax.nn.silu(self.norm(h))) + self.shift(condition)
        return h + self.outer(dropped(jax.nn.silu(inner), self.dropout, key))
