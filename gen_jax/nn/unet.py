"""The U-Net of denoising diffusion models.

Ho, Jain and Abbeel 2020, arXiv 2006.11239 (appendix B); a class embedding beside the time's as in Dhariwal and Nichol
2021, arXiv 2105.05233.

    block      y = shortcut(x) + conv(dropout(silu(norm(h)))),  h = conv(silu(norm(x))) + W silu(embedding)   (1)
    attention  y = x + W_o softmax(q k^T / sqrt C) v,  one head over all pixels of norm(x)                     (2)
    embedding  W silu(W sinusoidal(t)) + class row                                                            (3)

Going up, every level has one block more than going down, and takes what the way down left. The last convolutions of
blocks, of attention and of the network start at zero. Levels halve the side where it is even and at least 8; otherwise
they keep it (28 -> 14 -> 7 -> 7). With ``patch`` above 1 the network sees blocks of ``patch^2`` pixels as channels: a
quarter of the work for 2, which is what makes it quick on a CPU.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import TimeEmbedding
from gen_jax.nn.layers import WEIGHTS, ZERO, GroupNorm
from gen_jax.nn.ncsnpp import is_halved, sides
from gen_jax.nn.resample import depth_to_space, space_to_depth


class UNet(nnx.Module):
    """``x [B, side, side, channels], t [B], label [B] -> [B, side, side, channels]``.

    Args:
      side: of the images.
      channels: of the images.
      base: width of the first level; the embedding (3) is four times as wide.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: sides of the levels that have attention after every block; the middle always has it.
      dropout: share of activations dropped in every block while training.
      patch: side of the blocks of pixels that are taken as channels.
      classes: 0 for a network without labels; else one row more than classes, the last for no label.
      outputs: channels of the output; those of the images if none are given.
    """

    def __init__(
        self,
        side: int,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        dropout: float = 0.0,
        patch: int = 1,
        classes: int = 0,
        outputs: int | None = None,
        rngs: nnx.Rngs,
    ):
        grids = sides(side // patch, len(multipliers))

        def block(inputs: int, level: int) -> AttendedBlock:
            attended = grids[level] in attention
            return AttendedBlock(inputs, base * multipliers[level], 4 * base, attended, dropout, rngs=rngs)

        self.patch = patch
        self.embedding = TimeEmbedding(base, 4 * base, classes=classes, rngs=rngs)
        self.stem = Conv(channels * patch**2, base, kernel_init=WEIGHTS, rngs=rngs)
        width, skips, down, shrink, up, grow = base, [base], [], [], [], []
        for level, multiplier in enumerate(multipliers):
            stage = []
            for _ in range(blocks):
                stage.append(block(width, level))
                width = base * multiplier
                skips.append(width)
            down.append(nnx.List(stage))
            if level < len(multipliers) - 1:
                stride = 2 if is_halved(grids[level]) else 1
                shrink.append(Conv(width, width, stride=stride, kernel_init=WEIGHTS, rngs=rngs))
                skips.append(width)
        self.middle = nnx.List(
            AttendedBlock(width, width, 4 * base, attended, dropout, rngs=rngs) for attended in (True, False)
        )
        for level in reversed(range(len(multipliers))):
            stage = []
            for _ in range(blocks + 1):
                stage.append(block(width + skips.pop(), level))
                width = base * multipliers[level]
            up.append(nnx.List(stage))
            if level:
                grow.append(Conv(width, width, kernel_init=WEIGHTS, rngs=rngs))
        self.down, self.shrink, self.up, self.grow = nnx.List(down), nnx.List(shrink), nnx.List(up), nnx.List(grow)
        self.norm = GroupNorm(width, rngs=rngs)
        self.output = Conv(width, (outputs or channels) * patch**2, kernel_init=ZERO, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; ``t`` counts steps (0 .. 1000 in the paper), no label is the row beyond the classes."""
        embedding = jax.nn.silu(self.embedding(t, label).astype(x.dtype))
        keys = _Keys(key if train else None)
        h = self.stem(space_to_depth(x, self.patch))
        skips = [h]
        for level, stage in enumerate(self.down):
            for block in stage:
                h = block(h, embedding, keys.next())
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
                skips.append(h)
        for block in self.middle:
            h = block(h, embedding, keys.next())
        for level, stage in enumerate(self.up):
            for block in stage:
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), embedding, keys.next())
            if level < len(self.grow):
                h = self.grow[level](repeat_pixels(h, skips[-1].shape[1] // h.shape[1]))
        return depth_to_space(self.output(jax.nn.silu(self.norm(h))), self.patch)


class Block(nnx.Module):
    """(1)."""

    def __init__(self, inputs: int, outputs: int, embedding_width: int, dropout: float, *, rngs: nnx.Rngs):
        self.dropout = dropout
        self.norm_in = GroupNorm(inputs, rngs=rngs)
        self.conv_in = Conv(inputs, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.embedding = nnx.Linear(embedding_width, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.norm_out = GroupNorm(outputs, rngs=rngs)
        self.conv_out = Conv(outputs, outputs, kernel_init=ZERO, rngs=rngs)
        self.shortcut = Conv(inputs, outputs, 1, kernel_init=WEIGHTS, rngs=rngs) if inputs != outputs else None

    def __call__(self, x: jax.Array, embedding: jax.Array, key: jax.Array | None) -> jax.Array:
        """``x [B, H, W, inputs]``, the activated embedding ``[B, width]``; drops nothing without a key."""
        h = self.conv_in(jax.nn.silu(self.norm_in(x))) + self.embedding(embedding)[:, None, None]
        h = jax.nn.silu(self.norm_out(h))
        if key is not None and self.dropout:
            h = jnp.where(jax.random.bernoulli(key, 1 - self.dropout, h.shape), h / (1 - self.dropout), 0).astype(
                h.dtype
            )
        return (x if self.shortcut is None else self.shortcut(x)) + self.conv_out(h)


class Attention(nnx.Module):
    """(2)."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(width, rngs=rngs)
        self.query, self.key, self.value = (nnx.Linear(width, width, kernel_init=WEIGHTS, rngs=rngs) for _ in range(3))
        self.output = nnx.Linear(width, width, kernel_init=ZERO, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, width]``."""
        batch, height, side, width = x.shape
        h = self.norm(x).reshape(batch, height * side, width)
        logits = jnp.einsum("bqc,bkc->bqk", self.query(h), self.key(h), preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits / math.sqrt(width)).astype(x.dtype)
        return x + self.output(weights @ self.value(h)).reshape(x.shape)


class AttendedBlock(nnx.Module):
    """(1), followed by (2) where asked."""

    def __init__(
        self, inputs: int, outputs: int, embedding_width: int, attended: bool, dropout: float, *, rngs: nnx.Rngs
    ):
        self.block = Block(inputs, outputs, embedding_width, dropout, rngs=rngs)
        self.attention = Attention(outputs, rngs=rngs) if attended else None

    def __call__(self, x: jax.Array, embedding: jax.Array, key: jax.Array | None) -> jax.Array:
        """See :class:`Block`."""
        h = self.block(x, embedding, key)
        return h if self.attention is None else self.attention(h)


def repeat_pixels(x: jax.Array, times: int) -> jax.Array:
    """Nearest-neighbour enlargement: ``[B, H, W, C] -> [B, times H, times W, C]``."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, times, w, times, c))
    return x.reshape(b, h * times, w * times, c)


class _Keys:
    """One key after another from one, or none from none."""

    def __init__(self, key: jax.Array | None):
        self._key, self._drawn = key, 0

    def next(self) -> jax.Array | None:
        self._drawn += 1
        return None if self._key is None else jax.random.fold_in(self._key, self._drawn)
