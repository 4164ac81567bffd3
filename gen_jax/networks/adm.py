"""The U-Net of improved and of guided diffusion, and the classifier that guides.

Nichol and Dhariwal 2021, arXiv 2102.09672 (IDDPM); Dhariwal and Nichol 2021, arXiv 2105.05233 (ADM, and its
classifier); Karras et al. 2022, arXiv 2206.00364, train ADM as well.

    order      of :mod:`gen_jax.nn.ladder`
    block      of :mod:`gen_jax.nn.residual`, unshifted, its second norm(h) (1 + a) + b,  a, b = W condition   (1)
    attention  of :mod:`gen_jax.nn.attention`, heads of 64 channels, after every block of its levels, up and down
    between    blocks that repeat pixels or average four of them (ADM), or convolutions (IDDPM)
    condition  silu(W silu(W features(t)) + class row),  features of cosines, then sines                       (2)

    network          base  multipliers     blocks  attention  heads  classes  parameters
    IDDPM, CIFAR-10   128  1 2 2 2              3      16 8       4        -   52,546,438   ``between=by_convolution``
    ADM, 64 pixels    192  1 2 3 4              3   32 16 8   of 64     1000  295,904,454
    ADM, 128          256  1 1 2 3 4            2   32 16 8       4     1000  421,529,606
    ADM, 256          256  1 1 2 2 4 4          2   32 16 8   of 64     1000  553,838,086
    ADM, 512          256  .5 1 1 2 2 4 4       2   32 16 8   of 64     1000  558,997,638

with six outputs, the second half of which says the variance; EDM's at 64 pixels has three: 295,899,267. Normalisations
add 1e-5 to the variance. What comes last in blocks, in attention and in the U-Net starts at zero, and all other weights
uniform up to 1 / sqrt(inputs). The authors draw biases so too; here they start at zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.attention import Attention, attend
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import cosines_first, rows
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import Ascent, Condition, Descent, Keys, sizes, where_halved
from gen_jax.nn.layers import BY_INPUTS, ZERO, GroupNorm, ModulatedGroupNorm
from gen_jax.nn.resample import BOX
from gen_jax.nn.residual import Attended, Bare, Resample, ResidualBlock

EPSILON = 1e-5

Block = Callable[[int, int, Resample | None], ResidualBlock]


def by_block(block: Block, width: int, resample: Resample | None, *, rngs: nnx.Rngs) -> nnx.Module:
    """A residual block between two levels, which changes the resolution of both its branches."""
    return block(width, width, resample)


def by_convolution(block: Block, width: int, resample: Resample | None, *, rngs: nnx.Rngs) -> nnx.Module:
    """A convolution between two levels: of stride 2 on the way down, of repeated pixels on the way up."""
    down = resample is BOX.down
    conv = Conv(width, width, stride=2 if down else 1, padding=1, kernel_init=BY_INPUTS, rngs=rngs)
    return Bare(conv, None if down else resample)


class ADM(nnx.Module):
    """``x [B, H, W, channels], t [B], label [B] -> [B, H, W, outputs]``.

    Args:
      size: height and width of the images.
      channels: of the images.
      base: width that ``multipliers`` multiply; the condition (2) is four times as wide.
      multipliers: of ``base``, one per level.
      blocks: residual blocks per level on the way down.
      attention: smaller sides of the levels that have attention after every block; the middle always has it.
      heads: of attention; 0 for one per ``head_width`` channels.
      head_width: channels of a head, where ``heads`` is 0.
      between: what leads from level to level, :func:`by_block` or :func:`by_convolution`.
      outputs: channels that come out; None for as many as go in.
      dropout: share of activations dropped in every block while training.
      classes: 0 for a network without labels; otherwise label ``classes`` is no label.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        base: int,
        multipliers: Sequence[float],
        blocks: int,
        attention: Sequence[int],
        heads: int = 0,
        head_width: int = 64,
        between: Callable[..., nnx.Module] = by_block,
        outputs: int | None = None,
        dropout: float = 0.0,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        grids, widths = sizes(size, len(multipliers)), [int(base * m) for m in multipliers]
        ups = where_halved(BOX.up, grids)
        parts = _Parts(4 * base, heads, head_width, dropout, rngs)
        self.condition = StepCondition(base, 4 * base, classes=classes, rngs=rngs)
        self.stem = Conv(channels, widths[0], kernel_init=BY_INPUTS, rngs=rngs)
        self.descent = parts.descent(grids, widths, blocks, attention, between)
        self.ascent = Ascent(
            widths[0],
            widths,
            blocks,
            block=lambda inputs, outputs, level, following: parts.attended(
                inputs, outputs, min(grids[level]) in attention
            ),
            grow=lambda width, level: between(parts.block, width, ups[level - 1], rngs=rngs),
        )
        self.norm = GroupNorm(widths[0], epsilon=EPSILON, rngs=rngs)
        self.output = Conv(widths[0], outputs or channels, kernel_init=ZERO, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class; ``t`` counts steps (0 .. 1000), or is log(sigma) / 4 in EDM."""
        condition = Condition(style=self.condition(t, label).astype(x.dtype))
        keys = Keys(key if train else None)
        h, kept = self.descent(self.stem(x), condition, keys)
        h = self.ascent(h, kept, condition, keys)[-1]
        return self.output(jax.nn.silu(self.norm(h)))


class NoisyClassifier(nnx.Module):
    """Logits ``[B, classes]`` of noisy images ``x [B, H, W, channels], t [B]``, by the way down of :class:`ADM`.

    The paper's at 256 pixels has 54,096,360 parameters: base 128, multipliers 1 1 2 2 4 4, attention at 32 16 8.

    Args:
      size: height and width of the images.
      channels: of the images.
      classes: logits.
      base: as in :class:`ADM`; 128 in the paper.
      multipliers: as in :class:`ADM`.
      blocks: as in :class:`ADM`; 4 at 64 pixels and 2 above.
      attention: as in :class:`ADM`.
      head_width: channels of a head of attention.
      dropout: share of activations dropped in every block while training.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        classes: int,
        base: int,
        multipliers: Sequence[float],
        blocks: int,
        attention: Sequence[int],
        head_width: int = 64,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        grids, widths = sizes(size, len(multipliers)), [int(base * m) for m in multipliers]
        parts = _Parts(4 * base, 0, head_width, dropout, rngs)
        self.condition = StepCondition(base, 4 * base, rngs=rngs)
        self.stem = Conv(channels, widths[0], kernel_init=BY_INPUTS, rngs=rngs)
        self.descent = parts.descent(grids, widths, blocks, attention, by_block)
        self.norm = GroupNorm(widths[-1], epsilon=EPSILON, rngs=rngs)
        self.pool = AttentionPool(grids[-1], widths[-1], classes, heads=parts.heads(widths[-1]), rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class; ``t`` is that of the denoiser which is guided."""
        condition = Condition(style=self.condition(t).astype(x.dtype))
        h, _ = self.descent(self.stem(x), condition, Keys(key if train else None))
        return self.pool(jax.nn.silu(self.norm(h)))


class AttentionPool(nnx.Module):
    """What attention tells the mean of all pixels: ``[B, H, W, width] -> [B, outputs]``.

    Radford et al. 2021, arXiv 2103.00020: the mean and the pixels, each with a learned vector for its position, attend
    to each other, and what the mean becomes is mapped to the output.
    """

    def __init__(self, size: Size, width: int, outputs: int, *, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.position = nnx.Param(jax.random.normal(rngs.params(), (size[0] * size[1] + 1, width)) / width**0.5)
        self.query, self.key, self.value = (
            nnx.Linear(width, width, kernel_init=BY_INPUTS, rngs=rngs) for _ in range(3)
        )
        self.output = nnx.Linear(width, outputs, kernel_init=BY_INPUTS, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        h = x.reshape(x.shape[0], -1, x.shape[-1])
        h = jnp.concatenate([h.mean(axis=1, keepdims=True), h], axis=1) + self.position[...]
        return self.output(attend(self.query(h[:, :1]), self.key(h), self.value(h), self.heads)[:, 0])


class StepCondition(nnx.Module):
    """(2): ``t [B], label [B] -> [B, width]``; no label, and one beyond the classes, have a row of zeros."""

    def __init__(self, features: int, width: int, *, classes: int = 0, rngs: nnx.Rngs):
        self.features = features
        self.first = nnx.Linear(features, width, kernel_init=BY_INPUTS, rngs=rngs)
        self.second = nnx.Linear(width, width, kernel_init=BY_INPUTS, rngs=rngs)
        self.table = nnx.Param(jax.random.normal(rngs.params(), (classes, width))) if classes else None

    def __call__(self, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """See the class."""
        h = cosines_first(t, self.features).astype(self.first.kernel.dtype)
        h = self.second(jax.nn.silu(self.first(h)))
        if self.table is not None:
            h = h + rows(self.table[...], label, len(t))
        return jax.nn.silu(h)


class _Parts:
    """Makes the parts that the U-Net and the classifier share."""

    def __init__(self, condition_width: int, heads: int, head_width: int, dropout: float, rngs: nnx.Rngs):
        self.condition_width, self.dropout, self.rngs = condition_width, dropout, rngs
        self.heads = lambda width: heads or max(width // head_width, 1)

    def block(self, inputs: int, outputs: int, resample: Resample | None) -> ResidualBlock:
        options: dict[str, Any] = {"kernel_init": BY_INPUTS, "rngs": self.rngs}
        norm = GroupNorm(inputs, epsilon=EPSILON, rngs=self.rngs)
        modulated = ModulatedGroupNorm(outputs, self.condition_width, epsilon=EPSILON, **options)
        return ResidualBlock(
            inputs, outputs, norms=(norm, modulated), resample=resample, dropout=self.dropout, **options
        )

    def attended(self, inputs: int, outputs: int, at: bool) -> Attended:
        options: dict[str, Any] = {"kernel_init": BY_INPUTS, "epsilon": EPSILON, "rngs": self.rngs}
        attention = Attention(outputs, heads=self.heads(outputs), **options) if at else None
        return Attended(self.block(inputs, outputs, None), attention)

    def descent(
        self,
        grids: Sequence[Size],
        widths: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        between: Callable[..., nnx.Module],
    ) -> Descent:
        downs = where_halved(BOX.down, grids)
        return Descent(
            widths[0],
            widths,
            blocks,
            block=lambda inputs, outputs, level: self.attended(inputs, outputs, min(grids[level]) in attention),
            shrink=lambda width, level: between(self.block, width, downs[level], rngs=self.rngs),
            middle=lambda width: [self.attended(width, width, at) for at in (True, False)],
        )
