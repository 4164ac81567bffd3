"""Diffusion transformers.

Peebles and Xie 2023, arXiv 2212.09748 (DiT with adaLN-Zero); on patches, Dosovitskiy et al. 2021, arXiv 2010.11929.
A token h for each patch of ``patch^2`` pixels, to which its place is added, goes through blocks of

    h <- h + g_1 attention(norm(h) (1 + a_1) + b_1),   h <- h + g_2 mlp(norm(h) (1 + a_2) + b_2)               (1)
    b_1, a_1, g_1, b_2, a_2, g_2 = W silu(condition),  from zero: a block starts as the identity               (2)
    condition = W silu(W features(t)) + class row,  256 features, cosines first                                (3)
    place of row y and column x:  sines, then cosines, of x f_i, then of y f_i,   f_i = 1e-4^(4 i / width)     (4)

and at last a linear map of norm(h) (1 + a) + b to the pixels of its patch. The norms have no weights and add 1e-6 to
the variance; (4) is not learned. On 32 x 32 x 4 latents of ImageNet, with patches of 2, 8 outputs and 1000 classes:

    DiT        S/2         B/2          L/2          XL/2
    width      384         768          1024         1152
    layers     12          12           24           28
    heads      6           12           16           16
    parameters 32,865,056  130,315,808  457,840,672  674,834,720
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gen_jax.nn.attention import attend
from gen_jax.nn.embed import cosines_first
from gen_jax.nn.fit import Size
from gen_jax.nn.layers import ZERO
from gen_jax.nn.resample import depth_to_space, space_to_depth

GLOROT = nnx.initializers.glorot_uniform()
NARROW = nnx.initializers.normal(0.02)


class DiT(nnx.Module):
    """``x [B, H, W, channels], t [B], label [B] -> [B, H, W, outputs]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      patch: side of the blocks of pixels that are one token.
      width: of a token; divisible by 4 and by ``heads``.
      layers: number of blocks.
      heads: of attention.
      outputs: channels that come out; None for as many as go in.
      classes: 0 for a network without labels; else one row more than classes, the last for no label.
      features: of the time.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        outputs: int | None = None,
        classes: int = 0,
        features: int = 256,
        rngs: nnx.Rngs,
    ):
        height, across = size
        if height % patch or across % patch:
            raise ValueError(f"expected a patch that divides {height} and {across}, got {patch}; try 1, 2 or 4")
        if width % heads or width % 4:
            raise ValueError(f"expected a width divisible by 4 and by its {heads} heads, got {width}; change either")
        self.patch, self.grid = patch, (height // patch, across // patch)
        self.classes, self.features = classes, features
        self.stem = nnx.Linear(channels * patch**2, width, kernel_init=GLOROT, rngs=rngs)
        self.first = nnx.Linear(features, width, kernel_init=NARROW, rngs=rngs)
        self.second = nnx.Linear(width, width, kernel_init=NARROW, rngs=rngs)
        self.table = nnx.Param(NARROW(rngs.params(), (classes + 1, width))) if classes else None
        self.blocks = nnx.List(DiTBlock(width, heads, rngs=rngs) for _ in range(layers))
        self.last = Modulated(width, 2, rngs=rngs)
        self.output = nnx.Linear(width, (outputs or channels) * patch**2, kernel_init=ZERO, rngs=rngs)

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
        condition = jax.nn.silu(self._condition(t, label).astype(x.dtype))
        patches = space_to_depth(x, self.patch)
        h = self.stem(patches.reshape(x.shape[0], self.grid[0] * self.grid[1], -1))
        h = h + jnp.asarray(places(self.grid, h.shape[-1]), h.dtype)
        for block in self.blocks:
            h = block(h, condition)
        b, a = self.last(condition)
        h = self.output(modulated(h, a, b))
        return depth_to_space(h.reshape(x.shape[0], *self.grid, -1), self.patch)

    def _condition(self, t: jax.Array, label: jax.Array | None) -> jax.Array:
        h = cosines_first(t, self.features).astype(self.first.kernel.dtype)
        h = self.second(jax.nn.silu(self.first(h)))
        if self.table is None:
            return h
        return h + self.table[...][jnp.full(t.shape, self.classes) if label is None else label]


class DiTBlock(nnx.Module):
    """(1) and (2)."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.modulation = Modulated(width, 6, rngs=rngs)
        self.query, self.key, self.value, self.mix = (
            nnx.Linear(width, width, kernel_init=GLOROT, rngs=rngs) for _ in range(4)
        )
        self.up = nnx.Linear(width, 4 * width, kernel_init=GLOROT, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, kernel_init=GLOROT, rngs=rngs)

    def __call__(self, h: jax.Array, condition: jax.Array) -> jax.Array:
        """``h [B, tokens, width]``, the activated condition ``[B, width]``."""
        b1, a1, g1, b2, a2, g2 = self.modulation(condition)  # the authors' order
        x = modulated(h, a1, b1)
        h = h + g1 * self.mix(attend(self.query(x), self.key(x), self.value(x), self.heads))
        x = modulated(h, a2, b2)
        return h + g2 * self.down(jax.nn.gelu(self.up(x), approximate=True))


class Modulated(nnx.Module):
    """``[B, width]`` to so many vectors ``[B, 1, width]``, which start at zero."""

    def __init__(self, width: int, vectors: int, *, rngs: nnx.Rngs):
        self.vectors = vectors
        self.linear = nnx.Linear(width, vectors * width, kernel_init=ZERO, rngs=rngs)

    def __call__(self, condition: jax.Array) -> list[jax.Array]:
        """See the class."""
        return jnp.split(self.linear(condition)[:, None], self.vectors, axis=-1)


def modulated(h: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """``h [B, tokens, width]``, every token normalised in float32, times ``1 + scale``, plus ``shift``."""
    wide = h.astype(jnp.float32)
    wide = wide - wide.mean(axis=-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + 1e-6)
    return (wide * (1 + scale) + shift).astype(h.dtype)


def places(grid: Size, width: int) -> np.ndarray:
    """(4) of ``grid`` rows and columns of tokens, row by row, float64 ``[tokens, width]``; ``width`` divisible by 4."""
    frequency = np.exp(-math.log(1e4) * np.arange(width // 4) / (width // 4))
    y, x = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    angles = [along[:, None] * frequency for along in (x, y)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=-1)
