"""Generator and critic of R3GAN: residual blocks of grouped convolutions, no normalisation, no style, no noise.

Huang, Gokaslan, Kuleshov and Tompkin 2024, "The GAN is dead; long live the GAN!" (arXiv:2501.05441), the blocks after
ResNeXt (arXiv:1611.05431), their beginning after Fixup (arXiv:1901.09321). With a a leaky rectifier of 0.2 behind a
learned bias, W3 zero at first, L the blocks of a network:

    block       x -> x + W3 a(Wg a(W1 x))          W1: C -> 2 C, Wg: 3x3 in groups, W3: 2 C -> C           (1)
    weights     N(0, g^2 / inputs)                 g^2 = 2 / (1 + 0.2^2) / sqrt(L) in blocks, 1 elsewhere  (2)
    generator   a learned image at the smallest level times a dense map of [z, class]; at each level
                blocks; between levels a 1x1 convolution, where the width changes, then ``TENT`` up        (3)
    critic      the same in the other order, down first; then one kernel per channel over all that is
                left, and a dense head, with classes an inner product with the label's row / sqrt(C)       (4)

Levels of ``full`` pixels and less have ``width`` channels, those above half as many each. A group of Wg has ``group``
channels. Each branch of (1) begins at zero, so that both networks begin as linear ones.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.networks.dcgan import MULTIPLE, plan
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import appended, class_table
from gen_jax.nn.fit import Size
from gen_jax.nn.layers import ZERO
from gen_jax.nn.resample import TENT

__all__ = ["MULTIPLE", "Critic", "Generator"]

_LEAK = 0.2
_PLAIN = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")  # (2), not cut off at two deviations


def widths(size: Size, width: int, full: int) -> list[int]:
    """Channels of the levels, the smallest first."""
    start, doublings = plan(size)
    sides = [max(start) * 2**level for level in range(doublings + 1)]
    return [max(width >> max(round(math.log2(side / full)), 0), 1) for side in sides]


class Generator(nnx.Module):
    """(3): latents ``z [B, latent]``, with classes and ``label [B]``, to images ``[B, H, W, channels]``.

    Args:
      size: height and width of the images, each divisible by 4.
      channels: of the images.
      latent: width of ``z``, and of the label's embedding.
      width: see the module's head; twice that is divisible by ``group``.
      blocks: per level.
      full: side up to which levels have all channels, pixels.
      group: channels of a group of Wg.
      classes: 0 for a generator without labels.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        latent: int,
        width: int,
        blocks: int = 2,
        full: int = 32,
        group: int = 16,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        start, levels = plan(size)[0], widths(size, width, full)
        self.basis = nnx.Param(jax.random.normal(rngs.params(), (*start, levels[0])))
        self.embedding = class_table(classes, latent, rngs)
        inputs = latent * (2 if classes else 1)
        self.project = nnx.Linear(inputs, levels[0], use_bias=False, kernel_init=_PLAIN, rngs=rngs)
        self.levels = nnx.List(_level(each, blocks, group, len(levels) * blocks, rngs) for each in levels)
        self.changes = nnx.List(_change(a, b, rngs) for a, b in itertools.pairwise(levels))
        self.head = Conv(levels[-1], channels, 1, use_bias=False, kernel_init=_PLAIN, rngs=rngs)

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class; in training they may leave [-1, 1], otherwise they are cut to it."""
        if self.embedding is not None and label is not None:
            z = appended(z, self.embedding(label))
        h = self.basis[...] * self.project(z)[:, None, None]
        for index, level in enumerate(self.levels):
            if index:
                h = TENT.up(self.changes[index - 1](h))
            for block in level:
                h = block(h)
        x = self.head(h)
        return x if train else jnp.clip(x, -1, 1)


class Critic(nnx.Module):
    """(4): images ``[B, H, W, channels]`` to logits ``[B]``; its arguments are those of :class:`Generator`."""

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        width: int,
        blocks: int = 2,
        full: int = 32,
        group: int = 16,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        end, levels = plan(size)[0], widths(size, width, full)[::-1]
        self.stem = Conv(channels, levels[0], 1, use_bias=False, kernel_init=_PLAIN, rngs=rngs)
        self.levels = nnx.List(_level(each, blocks, group, len(levels) * blocks, rngs) for each in levels)
        self.changes = nnx.List(_change(a, b, rngs) for a, b in itertools.pairwise(levels))
        pixels, last = end[0] * end[1], levels[-1]
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (*end, last)) / math.sqrt(pixels))
        self.head = nnx.Linear(last, last if classes else 1, use_bias=False, kernel_init=_PLAIN, rngs=rngs)
        self.embedding = class_table(classes, last, rngs)

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h = self.stem(x)
        for index, level in enumerate(self.levels):
            if index:
                h = self.changes[index - 1](TENT.down(h))
            for block in level:
                h = block(h)
        d = self.head((h * self.positions[...]).sum(axis=(1, 2)))
        if self.embedding is None or label is None:
            return d[:, 0]
        return (d * self.embedding(label)).sum(axis=-1) / math.sqrt(d.shape[-1])


class Block(nnx.Module):
    """(1): ``[B, H, W, width] -> [B, H, W, width]``, of a network of ``depth`` blocks."""

    def __init__(self, width: int, *, group: int, depth: int, rngs: nnx.Rngs):
        wide = 2 * width
        group = math.gcd(group, wide)  # where a level is too narrow for more
        weights = nnx.initializers.variance_scaling(2 / (1 + _LEAK**2) / math.sqrt(depth), "fan_in", "normal")
        self.groups = wide // group
        self.widen = Conv(width, wide, 1, use_bias=False, kernel_init=weights, rngs=rngs)
        self.mix = nnx.Param(weights(rngs.params(), (3, 3, group, wide), jnp.float32))
        self.narrow = Conv(wide, width, 1, use_bias=False, kernel_init=ZERO, rngs=rngs)
        self.biases = nnx.List(nnx.Param(jnp.zeros((wide,))) for _ in range(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        first, second = self.biases
        h = jax.nn.leaky_relu(self.widen(x) + first[...], _LEAK)
        h = jax.lax.conv_general_dilated(
            h, self.mix[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )  # fmt: skip
        return x + self.narrow(jax.nn.leaky_relu(h + second[...], _LEAK))


class _Same(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def _level(width: int, blocks: int, group: int, depth: int, rngs: nnx.Rngs) -> nnx.List:
    return nnx.List(Block(width, group=group, depth=depth, rngs=rngs) for _ in range(blocks))


def _change(before: int, after: int, rngs: nnx.Rngs) -> nnx.Module:
    same = before == after
    return _Same() if same else Conv(before, after, 1, use_bias=False, kernel_init=_PLAIN, rngs=rngs)
