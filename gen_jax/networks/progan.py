"""Generator and critic that grow by a level at a time, each of twice the resolution of the one before.

Karras et al. 2018, "Progressive growing of GANs" (arXiv:1710.10196). Levels are counted from the smallest; h_l are the
activations of level l, and a fade alpha rises from 0 to 1 while the last level L is new:

    generator  h_0 = n(conv(n(dense(n(z))))),  h_l = n(conv(n(conv(up(h_(l-1)))))),  n = pixel norm of leaky       (1)
               image = (1 - alpha) up(rgb_(L-1)(h_(L-1))) + alpha rgb_L(h_L)                                       (2)
    critic     k_L = (1 - alpha) rgb_(L-1)(down(x)) + alpha block_L(rgb_L(x)),  k_(l-1) = block_(l-1)(k_l)         (3)
               logit = dense(dense(conv(k_0 and the minibatch deviation)))                                         (4)

Up repeats pixels, down takes means of them. Weights are equalised, :mod:`gen_jax.nn.equalised`. Every level keeps its
layers from and to images, so that what is in a network is also in the one that it grows into, under the same names; its
fade is a buffer.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.equalised import HE, EqualisedConv, EqualisedLinear, leaky, pixel_norm
from gen_jax.nn.fit import Size
from gen_jax.nn.minibatch import minibatch_deviation
from gen_jax.nn.resample import mean_pixels, repeat_pixels


def start(size: Size, levels: int) -> Size:
    """Height and width of the first level."""
    return size[0] >> (levels - 1), size[1] >> (levels - 1)


def fades(levels: int) -> nnx.List:
    """That of every level: the first has none, the others begin with 0."""
    return nnx.List(nnx.BatchStat(jnp.full((), level == 0, jnp.float32)) for level in range(levels))


def faded(before: jax.Array, new: jax.Array, fade: nnx.BatchStat) -> jax.Array:
    """Between what was there and what is new."""
    return before + fade[...].astype(new.dtype) * (new - before)


def unsmoothed(x: jax.Array) -> jax.Array:
    """``x`` itself."""
    return x


class Generator(nnx.Module):
    """(1) and (2): ``z [B, latent] -> [B, H, W, channels]``.

    Args:
      size: height and width of the images, each divisible by 2^(levels - 1).
      channels: of the images.
      latent: width of ``z``.
      widths: channels of the levels, the smallest level first.
    """

    def __init__(self, size: Size, channels: int, *, latent: int, widths: Sequence[int], rngs: nnx.Rngs):
        self.start = start(size, len(widths))
        height, width = self.start
        # The authors scale this layer as if each of 4x4 pixels were an input; its bias is one for all pixels.
        self.dense = EqualisedLinear(latent, height * width * widths[0], gain=HE / 4, use_bias=False, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros((widths[0],)))
        self.first = EqualisedConv(widths[0], widths[0], gain=HE, rngs=rngs)
        self.blocks = nnx.List(Block(a, b, rngs=rngs) for a, b in itertools.pairwise(widths))
        self.images = nnx.List(EqualisedConv(width, channels, 1, rngs=rngs) for width in widths)
        self.fade = fades(len(widths))

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Images, held to [-1, 1] unless it trains."""
        h = self.dense(pixel_norm(z)).reshape(len(z), *self.start, -1) + self.bias[...]
        h = pixel_norm(leaky(self.first(pixel_norm(leaky(h)))))
        before = h
        for block in self.blocks:
            before, h = h, block(h)
        x = self.images[-1](h)
        if len(self.images) > 1:
            x = faded(repeat_pixels(self.images[-2](before), 2), x, self.fade[-1])
        return x if train else jnp.clip(x, -1.0, 1.0)


class Block(nnx.Module):
    """A level of (1): ``[B, H, W, inputs] -> [B, 2 H, 2 W, outputs]``."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = EqualisedConv(inputs, outputs, gain=HE, rngs=rngs)
        self.second = EqualisedConv(outputs, outputs, gain=HE, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        h = pixel_norm(leaky(self.first(repeat_pixels(x, 2))))
        return pixel_norm(leaky(self.second(h)))


class Critic(nnx.Module):
    """(3) and (4): images ``[B, H, W, channels]`` to logits ``[B]``.

    Args:
      size: height and width of the images, each divisible by 2^(levels - 1).
      channels: of the images.
      widths: channels of the levels, the smallest level first.
      group: images that the minibatch deviation compares.
      smooth: what a level's activations pass before they are halved.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        widths: Sequence[int],
        group: int = 4,
        smooth: Callable[[jax.Array], jax.Array] = unsmoothed,
        rngs: nnx.Rngs,
    ):
        self.group = group
        height, width = start(size, len(widths))
        self.images = nnx.List(EqualisedConv(channels, width, 1, gain=HE, rngs=rngs) for width in widths)
        self.blocks = nnx.List(CriticBlock(b, a, smooth, rngs=rngs) for a, b in itertools.pairwise(widths))
        self.conv = EqualisedConv(widths[0] + 1, widths[0], gain=HE, rngs=rngs)
        self.dense = EqualisedLinear(height * width * widths[0], widths[0], gain=HE, rngs=rngs)
        self.head = EqualisedLinear(widths[0], 1, rngs=rngs)
        self.fade = fades(len(widths))

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h = leaky(self.images[-1](x))
        for level in reversed(range(len(self.blocks))):
            h = self.blocks[level](h)
            if level == len(self.blocks) - 1:
                h = faded(leaky(self.images[level](mean_pixels(x, 2))), h, self.fade[-1])
        h = leaky(self.conv(jnp.concatenate([h, minibatch_deviation(h, self.group)], axis=-1)))
        return self.head(leaky(self.dense(h.reshape(len(h), -1))))[:, 0]


class CriticBlock(nnx.Module):
    """A level of (3): ``[B, H, W, inputs] -> [B, H / 2, W / 2, outputs]``."""

    def __init__(self, inputs: int, outputs: int, smooth: Callable[[jax.Array], jax.Array], *, rngs: nnx.Rngs):
        self.smooth = smooth
        self.first = EqualisedConv(inputs, inputs, gain=HE, rngs=rngs)
        self.second = EqualisedConv(inputs, outputs, gain=HE, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        return leaky(mean_pixels(self.second(self.smooth(leaky(self.first(x)))), 2))
