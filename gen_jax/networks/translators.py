"""From an image of one domain to one of another, and a critic that judges patches.

Zhu, Park, Isola and Efros 2017 (arXiv:1703.10593), Isola et al. 2017 (arXiv:1611.07004), Johnson et al. 2016
(arXiv:1603.08155), by the code of the first. ``norm`` is that of each channel of each image, without scale or shift,
all convolutions have biases, borders are mirrored in the generator but on its ways down and up:

    generator   conv7, two halvings by conv3, each twice as wide, blocks x -> x + norm conv3(relu norm conv3 x),
                two doublings by transposed conv3, each half as wide, with relu norm behind each; tanh conv7     (1)
    critic      conv4 of stride 2, each twice as wide up to eight times, then two of stride 1 to one logit
                for every patch; leaky rectifiers of 0.2, a norm before all but the first                       (2)

A bias before a norm is taken away by it again, and its gradient is rounding: such are counted in the published sizes,
and not added. A logit of (2) with three strides sees 70 x 70 pixels, and 256 x 256 of them have 30 x 30 logits.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.checks import Count, Number, plain
from gen_jax.nn.conv import Conv, ConvTranspose, convolve, convolve_transpose
from gen_jax.nn.fit import Size, padded, whole
from gen_jax.nn.functional import network
from gen_jax.nn.layers import normalise_groups
from gen_jax.protocol import Network

_MULTIPLE = 4  # of a generator's sides
_WEIGHTS = nnx.initializers.normal(0.02)
_LEAK = 0.2


@plain
class Translators:
    """Sizes of both networks as plain data."""

    channels: Count = 64
    """Channels of the generator at full resolution."""
    blocks: Number = 9
    """Its residual blocks: nine for 256x256, six for 128x128."""
    critic_channels: Count = 64
    """Channels of the critic behind its first convolution."""
    strides: Count = 3
    """Halvings of the critic; the more, the larger its patches."""

    def generator(self, size: Size, inputs: int, outputs: int) -> Network:
        """(1), of images of any size."""
        options = {"inputs": inputs, "outputs": outputs, "width": self.channels, "blocks": self.blocks}
        return padded(partial(_of_any_size, Translator, options), size, _MULTIPLE)

    def critic(self, size: Size, inputs: int) -> Network:
        """(2), of images of any size.

        Raises:
          ValueError: if the images are too small for so many halvings.
        """
        if min(whole(size, _MULTIPLE)) // 2**self.strides < 3:  # two more convolutions take a pixel each
            raise ValueError(f"strides: expected fewer for images of {size[0]}x{size[1]}, got {self.strides}")
        options = {"inputs": inputs, "width": self.critic_channels, "strides": self.strides}
        return padded(partial(_of_any_size, PatchCritic, options), size, _MULTIPLE)


def _of_any_size(module: Callable[..., Any], options: dict[str, Any], size: Size) -> Network:
    return network(module, **options)


class Translator(nnx.Module):
    """(1): ``x [B, H, W, inputs] -> [B, H, W, outputs]`` in (-1, 1); sides divisible by 4."""

    def __init__(self, inputs: int, outputs: int, *, width: int, blocks: int, rngs: nnx.Rngs):
        conv = partial(Conv, kernel_init=_WEIGHTS, rngs=rngs)
        self.stem = conv(inputs, width, 7, padding="VALID")
        self.down = nnx.List(conv(width * a, 2 * width * a, stride=2, padding=1) for a in (1, 2))
        deep = partial(conv, 4 * width, 4 * width, padding="VALID")
        self.blocks = nnx.List(nnx.List([deep(), deep()]) for _ in range(blocks))
        up = partial(ConvTranspose, kernel=3, padding=0, kernel_init=_WEIGHTS, rngs=rngs)
        self.up = nnx.List(up(2 * width * a, width * a) for a in (2, 1))
        self.head = conv(width, outputs, 7, padding="VALID")

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        h = jax.nn.relu(_normed(self.stem, _mirror(x, 3)))
        for conv in self.down:
            h = jax.nn.relu(_normed(conv, h))
        for first, second in self.blocks:
            inner = jax.nn.relu(_normed(first, _mirror(h, 1)))
            h = h + _normed(second, _mirror(inner, 1))
        for up in self.up:
            h = convolve_transpose(h, up.kernel[...], padding=0)[:, 1:, 1:]  # sides 2 n + 1, of which 2 n are wanted
            h = jax.nn.relu(_norm(h))
        return jnp.tanh(self.head(_mirror(h, 3)))


class PatchCritic(nnx.Module):
    """(2): ``x [B, H, W, inputs]`` to logits ``[B, h, w]``."""

    def __init__(self, inputs: int, *, width: int, strides: int, rngs: nnx.Rngs):
        widths = [width * min(2**i, 8) for i in range(strides + 1)]
        conv = partial(Conv, kernel=4, padding=1, kernel_init=_WEIGHTS, rngs=rngs)
        halving = [conv(a, b, stride=2) for a, b in itertools.pairwise([inputs, *widths[:-1]])]
        self.convolutions = nnx.List([*halving, conv(widths[-2], widths[-1])])
        self.head = conv(widths[-1], 1)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        for index, convolution in enumerate(self.convolutions):
            x = jax.nn.leaky_relu(_normed(convolution, x) if index else convolution(x), _LEAK)
        return self.head(x)[..., 0]


def _mirror(x: jax.Array, pixels: int) -> jax.Array:
    return jnp.pad(x, [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)], mode="reflect")


def _normed(conv: Conv, x: jax.Array) -> jax.Array:
    """A convolution of ``x``, normalised."""
    return _norm(convolve(x, conv.kernel[...], stride=conv.stride, padding=conv.padding))


def _norm(x: jax.Array) -> jax.Array:
    width = x.shape[-1]
    return normalise_groups(x, width, jnp.ones((1, width)), jnp.zeros((1, width)), 1e-5)
