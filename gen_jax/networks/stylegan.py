"""The synthesis of StyleGAN: a constant, noise, and styles that scale and shift what is normalised.

Karras et al. 2019, "A style-based generator architecture for generative adversarial networks" (arXiv:1812.04948). A
layer is, in this order,

    h = leaky(smooth(conv(up(x))) + strength noise + bias)     up and smooth in the first layer of a level only     (1)
    y = (1 + s) (h - mean) / sqrt(variance + 1e-8) + t         over each channel of each image; s, t = A w          (2)

where the first level begins with a constant in place of its first convolution. smooth is [1, 2, 1] / 4 along either
axis. It grows as :mod:`gen_jax.networks.progan` does, whose critic it meets, smoothed before it halves.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.networks.progan import faded, fades, start
from gen_jax.nn.equalised import HE, EqualisedConv, EqualisedLinear, leaky
from gen_jax.nn.fit import Size
from gen_jax.nn.resample import repeat_pixels


def smooth(x: jax.Array) -> jax.Array:
    """[1, 2, 1] / 4 along both axes of ``[B, H, W, C]``; a pixel outside the image is zero."""
    for axis in (1, 2):
        wide = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(4)])
        before, after = (jax.lax.slice_in_dim(wide, i, i + x.shape[axis], axis=axis) for i in (0, 2))
        x = 0.5 * x + 0.25 * (before + after)
    return x


def instance_norm(x: jax.Array) -> jax.Array:
    """Each channel of each image to mean 0 and variance 1, in float32: ``[B, H, W, C]``."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(axis=(1, 2), keepdims=True)
    variance = jnp.square(centred).mean(axis=(1, 2), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + 1e-8)).astype(x.dtype)


class Styled(nnx.Module):
    """(1) from the noise on, and (2): ``x [B, H, W, channels], style [B, width] -> [B, H, W, channels]``."""

    def __init__(self, size: Size, channels: int, width: int, *, rngs: nnx.Rngs):
        self.strength = nnx.Param(jnp.zeros((channels,)))
        self.bias = nnx.Param(jnp.zeros((channels,)))
        self.affine = EqualisedLinear(width, 2 * channels, rngs=rngs)
        self.noise = nnx.BatchStat(jax.random.normal(rngs.params(), (*size, 1)))

    def __call__(self, x: jax.Array, style: jax.Array, key: jax.Array | None) -> jax.Array:
        """See the class; without a key the noise is that of the buffers."""
        fixed = self.noise[...]
        noise = fixed if key is None else jax.random.normal(key, (len(x), *fixed.shape))
        h = instance_norm(leaky(x + self.strength[...] * noise.astype(x.dtype) + self.bias[...]))
        scale, shift = jnp.split(self.affine(style)[:, None, None], 2, axis=-1)
        return h * (1 + scale) + shift


class Synthesis(nnx.Module):
    """``styles [B, layers, width] -> [B, H, W, channels]``, two layers at every level.

    Args:
      size: height and width of the images, each divisible by 2^(levels - 1).
      channels: of the images.
      width: of a style.
      widths: channels of the levels, the smallest level first.
    """

    def __init__(self, size: Size, channels: int, *, width: int, widths: Sequence[int], rngs: nnx.Rngs):
        first = start(size, len(widths))
        self.layers = 2 * len(widths)
        self.constant = nnx.Param(jnp.ones((*first, widths[0])))
        convolutions = [EqualisedConv(widths[0], widths[0], gain=HE, use_bias=False, rngs=rngs)]
        for a, b in itertools.pairwise(widths):
            convolutions.append(EqualisedConv(a, b, gain=HE, use_bias=False, rngs=rngs))
            convolutions.append(EqualisedConv(b, b, gain=HE, use_bias=False, rngs=rngs))
        self.convolutions = nnx.List(convolutions)
        sides = [(first[0] << level, first[1] << level) for level in range(len(widths))]
        self.styled = nnx.List(
            Styled(side, own, width, rngs=rngs) for side, own in zip(sides, widths, strict=True) for _ in range(2)
        )
        self.images = nnx.List(EqualisedConv(own, channels, 1, rngs=rngs) for own in widths)
        self.fade = fades(len(widths))

    def __call__(self, styles: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class; ``key`` draws the noise."""
        h = jnp.broadcast_to(self.constant[...], (len(styles), *self.constant.shape))
        before = h
        for index, styled in enumerate(self.styled):
            if index and index % 2 == 0:
                before = h
                h = smooth(self.convolutions[index - 1](repeat_pixels(h, 2)))
            elif index:
                h = self.convolutions[index - 1](h)
            h = styled(h, styles[:, index], None if key is None else jax.random.fold_in(key, index))
        x = self.images[-1](h)
        if len(self.images) == 1:
            return x
        return faded(repeat_pixels(self.images[-2](before), 2), x, self.fade[-1])
