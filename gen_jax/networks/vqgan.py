"""The networks of VQGAN: an encoder and a decoder of residual blocks and attention, and a critic of patches.

Esser, Rombach and Ommer 2021 (arXiv:2012.09841). Widths are ``base`` times a multiplier for each level, of which every
next one has half the sides; blocks are those of :mod:`gen_jax.nn.residual` with silu and group normalisation:

    encoder   conv3; per level ``blocks`` blocks, attention behind each where its side has it, and a conv3 of
              stride 2 to the next; block, attention, block; silu norm, conv3, conv1                              (1)
    decoder   its mirror, with a block more per level, and repeated pixels and conv3 between them                 (2)
    critic    conv4 of stride 2, each twice as wide up to eight times, then two of stride 1 to one logit for
              every patch; leaky rectifiers of 0.2, batch normalisation before all but the first                  (3)

At 256 x 256 with multipliers 1 1 2 2 4 of 128, attention at 16 and codes of 256 numbers: encoder 29,298,176 and decoder
42,449,795 parameters, each with 65,792 between it and the codes; critic 2,765,633, whose logits are 30 x 30.
"""

import itertools
from collections.abc import Sequence
from functools import partial

import jax
from flax import nnx

from gen_jax.nn.attention import Attention
from gen_jax.nn.batch_norm import ClassBatchNorm
from gen_jax.nn.conv import Conv
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Condition
from gen_jax.nn.layers import GroupNorm
from gen_jax.nn.resample import BOX
from gen_jax.nn.residual import Attended, ResidualBlock

_WEIGHTS = nnx.initializers.normal(0.02)
_LEAK = 0.2


class Encoder(nnx.Module):
    """(1): ``[B, H, W, channels] -> [B, H / 2^n, W / 2^n, code_width]``, with a level more than ``n``.

    Args:
      size: height and width, divisible by ``2^n``.
      channels: of the images.
      base: width that ``multipliers`` multiply.
      multipliers: of the levels.
      blocks: per level.
      attention: smaller sides of the levels that have it.
      latent: width behind the last level.
      code_width: of what is quantised.
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
        latent: int,
        code_width: int,
        rngs: nnx.Rngs,
    ):
        widths = [base * each for each in multipliers]
        self.stem = Conv(channels, base, rngs=rngs)
        self.levels = nnx.List(
            _level(before, width, blocks, min(size) >> level in attention, rngs)
            for level, (before, width) in enumerate(itertools.pairwise([base, *widths]))
        )
        self.downs = nnx.List(Conv(width, width, stride=2, rngs=rngs) for width in widths[:-1])
        self.middle = _middle(widths[-1], rngs)
        self.norm = GroupNorm(widths[-1], rngs=rngs)
        self.output = Conv(widths[-1], latent, rngs=rngs)
        self.head = Conv(latent, code_width, 1, rngs=rngs)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """What is quantised."""
        h = self.stem(x)
        for level, down in itertools.zip_longest(self.levels, self.downs):
            h = _through(level, h)
            h = h if down is None else down(h)
        return self.head(self.output(jax.nn.silu(self.norm(_through(self.middle, h)))))


class Decoder(nnx.Module):
    """(2): ``[B, h, w, code_width] -> [B, 2^n h, 2^n w, channels]``; arguments are those of :class:`Encoder`."""

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        latent: int,
        code_width: int,
        rngs: nnx.Rngs,
    ):
        widths = [base * each for each in multipliers][::-1]
        self.stem = Conv(code_width, latent, 1, rngs=rngs)
        self.input = Conv(latent, widths[0], rngs=rngs)
        self.middle = _middle(widths[0], rngs)
        self.levels = nnx.List(
            _level(before, width, blocks + 1, min(size) >> (len(widths) - 1 - place) in attention, rngs)
            for place, (before, width) in enumerate(itertools.pairwise([widths[0], *widths]))
        )
        self.ups = nnx.List(Conv(width, width, rngs=rngs) for width in widths[:-1])
        self.norm = GroupNorm(widths[-1], rngs=rngs)
        self.output = Conv(widths[-1], channels, rngs=rngs)

    def __call__(self, z: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """The image."""
        h = _through(self.middle, self.input(self.stem(z)))
        for level, up in itertools.zip_longest(self.levels, self.ups):
            h = _through(level, h)
            h = h if up is None else up(BOX.up(h))
        return self.output(jax.nn.silu(self.norm(h)))


class PatchCritic(nnx.Module):
    """(3): ``x [B, H, W, channels]`` to logits ``[B, h, w]``, normalised by its batch while it trains."""

    def __init__(self, channels: int, *, width: int, strides: int, rngs: nnx.Rngs):
        widths = [width * min(2**i, 8) for i in range(strides + 1)]
        conv = partial(Conv, kernel=4, padding=1, kernel_init=_WEIGHTS, rngs=rngs)
        self.stem = conv(channels, widths[0], stride=2)
        self.convolutions = nnx.List(
            conv(a, b, stride=2 if index < strides - 1 else 1, use_bias=False)
            for index, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.norms = nnx.List(ClassBatchNorm(each, rngs=rngs) for each in widths[1:])
        self.head = conv(widths[-1], 1)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        h = jax.nn.leaky_relu(self.stem(x), _LEAK)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = jax.nn.leaky_relu(norm(convolution(h), train=train), _LEAK)
        return self.head(h)[..., 0]


def _level(inputs: int, width: int, blocks: int, attends: bool, rngs: nnx.Rngs) -> nnx.List:
    widths = [inputs, *[width] * blocks]
    return nnx.List(_block(a, b, attends, rngs) for a, b in itertools.pairwise(widths))


def _middle(width: int, rngs: nnx.Rngs) -> nnx.List:
    return nnx.List(_block(width, width, attends, rngs) for attends in (True, False))


def _block(inputs: int, outputs: int, attends: bool, rngs: nnx.Rngs) -> Attended:
    norms = (GroupNorm(inputs, rngs=rngs), GroupNorm(outputs, rngs=rngs))
    block = ResidualBlock(inputs, outputs, norms=norms, rngs=rngs)
    return Attended(block, Attention(outputs, rngs=rngs) if attends else None)


def _through(blocks: nnx.List, h: jax.Array) -> jax.Array:
    for block in blocks:
        h = block(h, Condition(), None)
    return h
