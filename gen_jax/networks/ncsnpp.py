"""The NCSN++ U-Net.

Song et al. 2021, arXiv 2011.13456: BigGAN's residual blocks, antialiased resampling, the image met again at every
resolution. Where it is used: with times and labels alone, :mod:`gen_jax.networks.ddpmpp`; with a style vector in every
normalisation, :mod:`gen_jax.networks.ddgan`.

    order      of :mod:`gen_jax.nn.ladder`, with blocks between levels too
    block      of :mod:`gen_jax.nn.residual`, with gain 1 / sqrt 2 and a convolution in every shortcut that resamples
    attention  of :mod:`gen_jax.nn.attention`, same gain; going up, only at the end of a level
    input      p is the image; after each step to the next level
               residual    h = p = (convolution of p at the new resolution + h) / sqrt 2                       (1)
               skip        p = p at the new resolution;  h = h + 1x1 convolution of p                          (2)
    output     from the last level alone, or the sum over levels of what each says, brought to full resolution (3)

What comes last in blocks, in attention and in outputs starts at zero.
"""

import math
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from gen_jax.nn.attention import Attention
from gen_jax.nn.conv import Conv
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Ascent, Condition, Descent, Keys, sizes, where_halved
from gen_jax.nn.layers import WEIGHTS, ZERO, GroupNorm
from gen_jax.nn.resample import FIR, Resampler, blur
from gen_jax.nn.residual import Attended, Resample, ResidualBlock

ROOT_HALF = math.sqrt(0.5)


class InputResidual(nnx.Module):
    """(1), which where ``down`` is not None reads the blurred image at every second pixel."""

    def __init__(self, inputs: int, outputs: int, down: Resample | None, *, rngs: nnx.Rngs):
        self.halve, self.width = down is not None, outputs
        stride, padding = (2, 0) if self.halve else (1, 1)
        self.conv = Conv(inputs, outputs, stride=stride, padding=padding, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(self, image: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next p and h."""
        h = (self.conv(blur(image, 2) if self.halve else image) + h) * ROOT_HALF
        return h, h


class InputSkip(nnx.Module):
    """(2)."""

    def __init__(self, inputs: int, outputs: int, down: Resample | None, *, rngs: nnx.Rngs):
        self.down, self.width = down, inputs
        self.conv = Conv(inputs, outputs, 1, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(self, image: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next p and h."""
        image = image if self.down is None else self.down(image)
        return image, h + self.conv(image)


class FromLast(nnx.Module):
    """Convolution of the normalised end of the last level."""

    def __init__(self, widths: Sequence[int], outputs: int, ups: Sequence[Resample | None], *, rngs: nnx.Rngs):
        self.norm = GroupNorm(widths[-1], rngs=rngs)
        self.conv = Conv(widths[-1], outputs, kernel_init=ZERO, rngs=rngs)

    def __call__(self, ends: Sequence[jax.Array]) -> jax.Array:
        """From what every level ended with, the smallest first: ``[B, H, W, outputs]``."""
        return self.conv(jax.nn.silu(self.norm(ends[-1])))


class FromLevels(nnx.Module):
    """(3): every level's as :class:`FromLast`, each added to what came before, enlarged."""

    def __init__(self, widths: Sequence[int], outputs: int, ups: Sequence[Resample | None], *, rngs: nnx.Rngs):
        self.ups = tuple(ups)
        self.levels = nnx.List(FromLast([width], outputs, [], rngs=rngs) for width in widths)

    def __call__(self, ends: Sequence[jax.Array]) -> jax.Array:
        """As :class:`FromLast`."""
        said = [level([end]) for level, end in zip(self.levels, ends, strict=True)]
        image = said[0]
        for up, more in zip(self.ups, said[1:], strict=True):
            image = (image if up is None else up(image)) + more
        return image


class NCSNpp(nnx.Module):
    """``x [B, H, W, channels]`` and a condition of its blocks to ``[B, H, W, outputs]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      base: width of the first level.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: levels with self-attention, counted from 0 at full resolution; the middle always has it.
      block: makes a block from ``(inputs, outputs, change of resolution or None)``.
      resampler: changes the resolution.
      feed: how levels meet the image again, :class:`InputResidual` or :class:`InputSkip`; None for not at all.
      head: what comes out, :class:`FromLast` or :class:`FromLevels`.
      outputs: channels that come out; None for as many as go in.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        block: Callable[[int, int, Resample | None], ResidualBlock],
        resampler: Resampler = FIR,
        feed: Callable[..., InputResidual | InputSkip] | None = InputResidual,
        head: Callable[..., FromLast | FromLevels] = FromLast,
        outputs: int | None = None,
        rngs: nnx.Rngs,
    ):
        grids, widths = sizes(size, len(multipliers)), [base * m for m in multipliers]
        downs, ups = where_halved(resampler.down, grids), where_halved(resampler.up, grids)

        def attended(inputs: int, outputs: int, at: bool) -> Attended:
            return Attended(block(inputs, outputs, None), half_attention(outputs, rngs=rngs) if at else None)

        self.stem = Conv(channels, base, kernel_init=WEIGHTS, rngs=rngs)
        self.descent = Descent(
            base,
            widths,
            blocks,
            block=lambda inputs, outputs, level: attended(inputs, outputs, level in attention),
            shrink=lambda width, level: block(width, width, downs[level]),
            middle=lambda width: [attended(width, width, at) for at in (True, False)],
        )
        self.ascent = Ascent(
            base,
            widths,
            blocks,
            block=lambda inputs, outputs, level, following: attended(
                inputs, outputs, level in attention and not following
            ),
            grow=lambda width, level: block(width, width, ups[level - 1]),
        )
        feeds: list[InputResidual | InputSkip] = []
        for width, down in zip(widths, downs, strict=False):
            if feed is not None:
                feeds.append(feed(feeds[-1].width if feeds else channels, width, down, rngs=rngs))
        self.feeds = nnx.List(feeds)
        self.head = head(widths[::-1], outputs or channels, ups[::-1], rngs=rngs)

    def __call__(self, x: jax.Array, condition: Condition, keys: Keys) -> jax.Array:
        """See the class."""
        image = x

        def feed(level: int, h: jax.Array) -> jax.Array:
            nonlocal image
            if self.feeds:
                image, h = self.feeds[level](image, h)
            return h

        h, kept = self.descent(self.stem(x), condition, keys, feed)
        return self.head(self.ascent(h, kept, condition, keys))


def half_block(
    inputs: int,
    outputs: int,
    resample: Resample | None,
    *,
    norms: tuple[nnx.Module, nnx.Module],
    shift_width: int,
    dropout: float = 0.0,
    rngs: nnx.Rngs,
) -> ResidualBlock:
    """A block of gain 1 / sqrt 2 that is shifted by ``[B, shift_width]``."""
    return ResidualBlock(
        inputs,
        outputs,
        norms=norms,
        shift=nnx.Linear(shift_width, outputs, kernel_init=WEIGHTS, rngs=rngs),
        resample=resample,
        projected=resample is not None,
        gain=ROOT_HALF,
        dropout=dropout,
        rngs=rngs,
    )


def half_attention(width: int, *, rngs: nnx.Rngs) -> Attention:
    """Attention of gain 1 / sqrt 2, whose weights start small."""
    narrow = nnx.initializers.variance_scaling(0.1, "fan_avg", "uniform")
    return Attention(width, gain=ROOT_HALF, kernel_init=narrow, rngs=rngs)
