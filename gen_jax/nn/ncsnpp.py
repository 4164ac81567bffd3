"""The NCSN++ U-Net, with a style vector in every normalisation.

Song et al. 2021, arXiv 2011.13456 (NCSN++: BigGAN residual blocks, antialiased resampling, the input fed again to every
resolution); Xiao, Kreis and Vahdat 2022, arXiv 2112.07804 (adaptive normalisation by a latent).

    block  h = conv(silu(norm(x, style))) + W silu(time)
           y = (shortcut(x) + conv(silu(norm(h, style)))) / sqrt 2                                             (1)
    norm   group-normalised x, scaled and shifted by the style, of :mod:`gen_jax.nn.layers`                    (2)
    input  after each halving of h:  p = downsampled convolution of p;  h = p = (p + h) / sqrt 2               (3)

where p starts as the input image. On the way up every level has one block more than on the way down, and takes what
the way down left. Levels halve the side where it is even and at least 8; otherwise they keep it (28 -> 14 -> 7 -> 7).
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv
from gen_jax.nn.layers import WEIGHTS, ZERO, AdaptiveGroupNorm, GroupNorm
from gen_jax.nn.resample import blur, downsample, upsample

_ROOT_HALF = math.sqrt(0.5)


class NCSNpp(nnx.Module):
    """``x [B, side, side, channels], time [B, 4 base], style [B, style_width] -> [B, side, side, channels]``.

    Args:
      side: of the images.
      channels: of the images.
      base: width of the first level.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: levels with self-attention, counted from 0 at full resolution.
      style_width: width of the style vector.
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
        style_width: int,
        rngs: nnx.Rngs,
    ):
        def block(inputs: int, outputs: int, resample: Callable[[jax.Array], jax.Array] | None = None) -> Block:
            return Block(inputs, outputs, time_width=4 * base, style_width=style_width, resample=resample, rngs=rngs)

        halves = [is_halved(s) for s in sides(side, len(multipliers))[:-1]]
        width, pyramid_width, skips = base, channels, [base]
        self.stem = Conv(channels, base, kernel_init=WEIGHTS, rngs=rngs)
        down, shrink, pyramid = [], [], []
        for level, multiplier in enumerate(multipliers):
            stage = []
            for _ in range(blocks):
                stage.append(_Attended(block(width, base * multiplier), level in attention, rngs=rngs))
                width = base * multiplier
                skips.append(width)
            down.append(nnx.List(stage))
            if level < len(halves):
                shrink.append(block(width, width, downsample if halves[level] else None))
                pyramid.append(_PyramidConv(pyramid_width, width, halves[level], rngs=rngs))
                pyramid_width = width
                skips.append(width)
        self.down, self.shrink, self.pyramid = nnx.List(down), nnx.List(shrink), nnx.List(pyramid)
        self.middle = nnx.List([_Attended(block(width, width), True, rngs=rngs), block(width, width)])
        up, grow = [], []
        for level in reversed(range(len(multipliers))):
            stage = []
            for i in range(blocks + 1):
                attended = level in attention and i == blocks  # once, at the end of a level
                stage.append(_Attended(block(width + skips.pop(), base * multipliers[level]), attended, rngs=rngs))
                width = base * multipliers[level]
            up.append(nnx.List(stage))
            if level:
                grow.append(block(width, width, upsample if halves[level - 1] else None))
        self.up, self.grow = nnx.List(up), nnx.List(grow)
        self.norm = GroupNorm(width, rngs=rngs)
        self.output = Conv(width, channels, kernel_init=ZERO, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array, style: jax.Array) -> jax.Array:
        """See the class."""
        h = self.stem(x)
        skips = [h]
        for level, stage in enumerate(self.down):
            for block in stage:
                h = block(h, time, style)
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h, time, style)
                x = h = (self.pyramid[level](x) + h) * _ROOT_HALF  # (3)
                skips.append(h)
        for between in self.middle:
            h = between(h, time, style)
        for level, stage in enumerate(self.up):
            for block in stage:
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), time, style)
            if level < len(self.grow):
                h = self.grow[level](h, time, style)
        return self.output(jax.nn.silu(self.norm(h)))


class Block(nnx.Module):
    """(1); ``resample`` is applied to both branches before their first convolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        time_width: int,
        style_width: int,
        resample: Callable[[jax.Array], jax.Array] | None = None,
        rngs: nnx.Rngs,
    ):
        self.resample = resample
        self.norm_in = AdaptiveGroupNorm(inputs, style_width, rngs=rngs)
        self.conv_in = Conv(inputs, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.time = nnx.Linear(time_width, outputs, kernel_init=WEIGHTS, rngs=rngs)
        self.norm_out = AdaptiveGroupNorm(outputs, style_width, rngs=rngs)
        self.conv_out = Conv(outputs, outputs, kernel_init=ZERO, rngs=rngs)
        changed = inputs != outputs or resample is not None
        self.shortcut = Conv(inputs, outputs, 1, kernel_init=WEIGHTS, rngs=rngs) if changed else None

    def __call__(self, x: jax.Array, time: jax.Array, style: jax.Array) -> jax.Array:
        """``x [B, H, W, inputs]`` to ``[B, H', W', outputs]``."""
        h = jax.nn.silu(self.norm_in(x, style))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_in(h) + self.time(jax.nn.silu(time))[:, None, None]
        h = self.conv_out(jax.nn.silu(self.norm_out(h, style)))
        return ((x if self.shortcut is None else self.shortcut(x)) + h) * _ROOT_HALF


class Attention(nnx.Module):
    """Self-attention with one head over all pixels, added to its input and divided by sqrt 2."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(width, rngs=rngs)
        narrow = nnx.initializers.variance_scaling(0.1, "fan_avg", "uniform")
        self.query, self.key, self.value = (nnx.Linear(width, width, kernel_init=narrow, rngs=rngs) for _ in range(3))
        self.output = nnx.Linear(width, width, kernel_init=ZERO, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, width]``."""
        h = self.norm(x).reshape(x.shape[0], -1, 1, x.shape[-1])
        h = jax.nn.dot_product_attention(self.query(h), self.key(h), self.value(h))
        return (x + self.output(h).reshape(x.shape)) * _ROOT_HALF


class _Attended(nnx.Module):
    """A block, followed by attention where asked."""

    def __init__(self, block: Block, attended: bool, *, rngs: nnx.Rngs):
        self.block = block
        self.attention = Attention(block.conv_out.kernel.shape[-1], rngs=rngs) if attended else None

    def __call__(self, x: jax.Array, time: jax.Array, style: jax.Array) -> jax.Array:
        h = self.block(x, time, style)
        return h if self.attention is None else self.attention(h)


class _PyramidConv(nnx.Module):
    """A 3x3 convolution, which where ``halve`` is asked reads a blurred image at every second pixel."""

    def __init__(self, inputs: int, outputs: int, halve: bool, *, rngs: nnx.Rngs):
        self.halve = halve
        stride, padding = (2, 0) if halve else (1, 1)
        self.conv = Conv(inputs, outputs, stride=stride, padding=padding, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(blur(x, 2) if self.halve else x)


def is_halved(side: int) -> bool:
    """Whether a level of this side is followed by one of half of it."""
    return side % 2 == 0 and side >= 8


def sides(side: int, levels: int) -> list[int]:
    """The side at every level."""
    result = [side]
    while len(result) < levels:
        result.append(result[-1] // 2 if is_halved(result[-1]) else result[-1])
    return result
