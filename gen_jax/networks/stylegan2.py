"""Generator and critic of StyleGAN2: weights that a style modulates, a sum of images, a residual critic.

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" (arXiv:1912.04958), configuration F.

    s = A w                                                    a dense layer for every convolution, bias 1 at first (1)
    y = d (W * (s x)),   d_o = 1 / sqrt(sum over i, k of (s_i W_iok)^2 + 1e-8)                                      (2)
    h = sqrt 2 leaky(y + strength noise + bias)                                                                     (3)
    image = up(image) + W (s x / sqrt inputs) + bias           at every resolution: skip connections                (4)
    critic block   (conv(down(conv(x))) + down(x) W) / sqrt 2                                                       (5)

(2) is the convolution by modulated and demodulated weights, written as one convolution by the same weights for all
images between two scalings. Up and down by two is by [1, 3, 3, 1] / 8, of :mod:`gen_jax.nn.resample`: a convolution on
the way up is transposed and then smoothed, on the way down it is smoothed and then strided. Levels double from the
smallest that the sides can be halved to, :func:`gen_jax.nn.ladder.halvings`: 4x4 for powers of two, 7x7 for 28x28.
"""

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import convolve, convolve_transpose
from gen_jax.nn.equalised import HE, EqualisedConv, EqualisedLinear, leaky, pixel_norm
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import halvings
from gen_jax.nn.minibatch import minibatch_deviation
from gen_jax.nn.resample import blur, downsample, upsample

MULTIPLE = 4
"""What sides are divisible by."""


def widths(size: Size, base: int, most: int) -> list[int]:
    """Channels at every level, the largest first."""
    return [min(base << level, most) for level in range(len(halvings(size)))]


def keep(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``x [B, H, W, I]`` by ``kernel [k, k, I, O]`` at the same resolution."""
    return convolve(x, kernel)


def enlarge(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same to twice the resolution: ``kernel`` is 3x3."""
    return 4 * blur(convolve_transpose(x, kernel, padding=0), 1)


def modulated(
    x: jax.Array, kernel: jax.Array, s: jax.Array, by: Callable[[jax.Array, jax.Array], jax.Array] = keep
) -> jax.Array:
    """(2): ``x [B, H, W, I]``, ``kernel [k, k, I, O]``, ``s [B, I]``; ``by`` is the convolution."""
    squares = jnp.square(kernel.astype(jnp.float32)).sum(axis=(0, 1))
    d = jax.lax.rsqrt(jnp.square(s.astype(jnp.float32)) @ squares + 1e-8)
    return by(x * s[:, None, None], kernel) * d[:, None, None].astype(x.dtype)


class StyledConv(nnx.Module):
    """(1) to (3): ``x [B, H, W, inputs], style [B, width] -> [B, H', W', outputs]``; ``size`` is that of its noise."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        size: Size,
        by: Callable[[jax.Array, jax.Array], jax.Array],
        *,
        rngs: nnx.Rngs,
    ):
        self.by = by
        self.affine = EqualisedLinear(width, inputs, bias=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (3, 3, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros((outputs,)))
        self.strength = nnx.Param(jnp.zeros(()))
        self.noise = nnx.BatchStat(jax.random.normal(rngs.params(), (*size, 1)))

    def __call__(self, x: jax.Array, style: jax.Array, key: jax.Array | None) -> jax.Array:
        """See the class; without a key the noise is that of the buffers."""
        y = modulated(x, self.kernel[...], self.affine(style), self.by)
        fixed = self.noise[...]
        noise = fixed if key is None else jax.random.normal(key, (len(x), *fixed.shape))
        return HE * leaky(y + self.strength[...] * noise.astype(y.dtype) + self.bias[...])


class ToImage(nnx.Module):
    """The last term of (4): ``x [B, H, W, inputs], style [B, width] -> [B, H, W, channels]``."""

    def __init__(self, inputs: int, channels: int, width: int, *, rngs: nnx.Rngs):
        self.affine = EqualisedLinear(width, inputs, bias=1.0, rngs=rngs)
        self.conv = EqualisedConv(inputs, channels, 1, rngs=rngs)

    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """See the class."""
        return self.conv(x * self.affine(style)[:, None, None])


class Synthesis(nnx.Module):
    """``styles [B, layers, width] -> [B, H, W, channels]``, two convolutions at every level but one at the smallest.

    The image of a level and the first convolution of the next one have the same style, so that layers are twice the
    levels.

    Args:
      size: height and width of the images.
      channels: of the images.
      width: of a style.
      base: channels at full resolution; every halving doubles them.
      most: and no level has more.
    """

    def __init__(self, size: Size, channels: int, *, width: int, base: int, most: int, rngs: nnx.Rngs):
        levels = list(zip(reversed(halvings(size)), reversed(widths(size, base, most))))
        self.layers = 2 * len(levels)
        (start, inputs), *further = levels
        self.constant = nnx.Param(jax.random.normal(rngs.params(), (*start, inputs)))
        convolutions = [StyledConv(inputs, inputs, width, start, keep, rngs=rngs)]
        images = [ToImage(inputs, channels, width, rngs=rngs)]
        for side, outputs in further:
            convolutions.append(StyledConv(inputs, outputs, width, side, enlarge, rngs=rngs))
            convolutions.append(StyledConv(outputs, outputs, width, side, keep, rngs=rngs))
            images.append(ToImage(outputs, channels, width, rngs=rngs))
            inputs = outputs
        self.convolutions, self.images = nnx.List(convolutions), nnx.List(images)

    def __call__(self, styles: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class; ``key`` draws the noise."""
        x = jnp.broadcast_to(self.constant[...], (len(styles), *self.constant.shape))
        image: jax.Array | None = None
        for index, convolution in enumerate(self.convolutions):
            noise = None if key is None else jax.random.fold_in(key, index)
            x = convolution(x, styles[:, index], noise)
            if index % 2 == 0:  # the last of a level
                added = self.images[index // 2](x, styles[:, index + 1])
                image = added if image is None else upsample(image) + added
        assert image is not None
        return image


class CriticBlock(nnx.Module):
    """(5): ``[B, H, W, inputs] -> [B, H / 2, W / 2, outputs]``."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = EqualisedConv(inputs, inputs, rngs=rngs)
        self.second = EqualisedConv(inputs, outputs, stride=2, padding="VALID", rngs=rngs)
        self.skip = EqualisedConv(inputs, outputs, 1, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        h = HE * leaky(self.second(blur(HE * leaky(self.first(x)), 2)))
        return (h + self.skip(downsample(x))) * math.sqrt(0.5)


class Critic(nnx.Module):
    """Images ``[B, H, W, channels]``, with classes and ``label [B]``, to logits ``[B]``.

    With classes the logit is a product with a learned row per class (Miyato and Koyama 2018, arXiv:1802.05637).

    Args:
      size: height and width of the images.
      channels: of the images.
      base: channels at full resolution; every halving doubles them.
      most: and no level has more.
      group: images that the minibatch deviation compares.
      classes: 0 for a critic without labels.
    """

    def __init__(
        self, size: Size, channels: int, *, base: int, most: int, group: int = 4, classes: int = 0, rngs: nnx.Rngs
    ):
        self.group = group
        levels, (height, width) = widths(size, base, most), halvings(size)[-1]
        last = levels[-1]
        self.from_image = EqualisedConv(channels, levels[0], 1, rngs=rngs)
        self.blocks = nnx.List(CriticBlock(a, b, rngs=rngs) for a, b in itertools.pairwise(levels))
        self.conv = EqualisedConv(last + 1, last, rngs=rngs)
        self.dense = EqualisedLinear(height * width * last, last, rngs=rngs)
        self.head = EqualisedLinear(last, last if classes else 1, rngs=rngs)
        self.table = nnx.Param(jax.random.normal(rngs.params(), (classes, last))) if classes else None

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h = HE * leaky(self.from_image(x))
        for block in self.blocks:
            h = block(h)
        h = HE * leaky(self.conv(jnp.concatenate([h, minibatch_deviation(h, self.group)], axis=-1)))
        told = self.head(HE * leaky(self.dense(h.reshape(len(h), -1))))
        if self.table is None or label is None:
            return told[:, 0]
        row = pixel_norm(self.table[...][label]).astype(told.dtype)
        return (told * row).sum(axis=-1) / math.sqrt(told.shape[-1])
