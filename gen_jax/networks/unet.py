"""The U-Net of denoising diffusion models.

Ho, Jain and Abbeel 2020, arXiv 2006.11239 (appendix B); a class embedding beside the time's as in Dhariwal and Nichol
2021, arXiv 2105.05233; with attention after one block only of a level on the way up, the same network in Song et al.
2021, arXiv 2011.13456.

    block      of :mod:`gen_jax.nn.residual`, with a 3x3 convolution of stride 2, or of repeated pixels, between levels
    attention  y = x + W_o softmax(q k^T / sqrt C) v,  one head over all pixels of norm(x)                     (1)
    embedding  silu(W silu(W sinusoidal(t)) + class row)                                                       (2)

The last convolutions of blocks, of attention and of the network start at zero. With ``patch`` above 1 the network sees
blocks of ``patch^2`` pixels as channels: a quarter of the work for 2, which is what makes it quick on a CPU.
"""

from collections.abc import Sequence
from functools import partial

import jax
from flax import nnx

from gen_jax.nn.attention import Attention
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import TimeEmbedding
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Ascent, Condition, Descent, Keys, sizes, where_halved
from gen_jax.nn.layers import WEIGHTS, ZERO, GroupNorm
from gen_jax.nn.resample import depth_to_space, repeat_pixels, space_to_depth
from gen_jax.nn.residual import Attended, Bare, ResidualBlock


class UNet(nnx.Module):
    """``x [B, H, W, channels], t [B], label [B] -> [B, H, W, channels]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      base: width of the first level; the embedding (2) is four times as wide.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: smaller sides, in patches, of the levels with attention after every block; the middle always has it.
      attended_up: how many blocks of such a level have it on the way up, counted from the last; None for all.
      dropout: share of activations dropped in every block while training.
      patch: side of the blocks of pixels that are taken as channels.
      classes: 0 for a network without labels; else one row more than classes, the last for no label.
      outputs: channels of the output; those of the images if none are given.
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
        attended_up: int | None = None,
        dropout: float = 0.0,
        patch: int = 1,
        classes: int = 0,
        outputs: int | None = None,
        rngs: nnx.Rngs,
    ):
        grids = sizes((size[0] // patch, size[1] // patch), len(multipliers))
        widths = [base * m for m in multipliers]
        twice = where_halved(partial(repeat_pixels, times=2), grids)

        def conv(width: int, stride: int = 1) -> Conv:
            return Conv(width, width, stride=stride, kernel_init=WEIGHTS, rngs=rngs)

        def block(inputs: int, outputs: int, attended: bool) -> Attended:
            shift = nnx.Linear(4 * base, outputs, kernel_init=WEIGHTS, rngs=rngs)
            norms = GroupNorm(inputs, rngs=rngs), GroupNorm(outputs, rngs=rngs)
            plain = ResidualBlock(inputs, outputs, norms=norms, shift=shift, dropout=dropout, rngs=rngs)
            return Attended(plain, Attention(outputs, rngs=rngs) if attended else None)

        def up_block(inputs: int, outputs: int, level: int, following: int) -> Attended:
            attended = min(grids[level]) in attention and (attended_up is None or following < attended_up)
            return block(inputs, outputs, attended)

        self.patch = patch
        self.embedding = TimeEmbedding(base, 4 * base, classes=classes, rngs=rngs)
        self.stem = Conv(channels * patch**2, base, kernel_init=WEIGHTS, rngs=rngs)
        self.descent = Descent(
            base,
            widths,
            blocks,
            block=lambda inputs, outputs, level: block(inputs, outputs, min(grids[level]) in attention),
            shrink=lambda width, level: Bare(conv(width, stride=2 if twice[level] else 1)),
            middle=lambda width: [block(width, width, attended) for attended in (True, False)],
        )
        grow = lambda width, level: Bare(conv(width), twice[level - 1])  # noqa: E731
        self.ascent = Ascent(base, widths, blocks, block=up_block, grow=grow)
        self.norm = GroupNorm(widths[0], rngs=rngs)
        self.output = Conv(widths[0], (outputs or channels) * patch**2, kernel_init=ZERO, rngs=rngs)

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
        condition = Condition(shift=jax.nn.silu(self.embedding(t, label).astype(x.dtype)))
        keys = Keys(key if train else None)
        h, kept = self.descent(self.stem(space_to_depth(x, self.patch)), condition, keys)
        h = self.ascent(h, kept, condition, keys)[-1]
        return depth_to_space(self.output(jax.nn.silu(self.norm(h))), self.patch)
