"""The gated PixelCNN over a grid of symbols.

van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders" (arXiv:1606.05328). Two stacks of
convolutions, whose kernels are cut where their masks would be zero. With K wide and r = K // 2:

    vertical    a = conv of (r + 1) x K over v, which sees its own row and r above, r columns to both sides    (1)
                v <- gate(a + W c)
    horizontal  b = conv of 1 x (r + 1) over h, which sees its own column and r before; in the first layer
                of 1 x r, without its own; the row of (1) above comes to it: b + W down(a)                      (2)
                h <- h + W gate(b + W down(a) + W c),  in the first layer without the h before
    gate        tanh(first half) sigmoid(second half)                                                           (3)

So v knows all of the rows up to its own, and h, to which it comes moved down by one, all of the rows above and of its
own row what lies before: no symbol that was drawn is out of sight, as some are of masked square kernels. c is an
embedding of the label, and of symbols of a grid half as fine, if they are told, which are repeated to this one.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv, convolve
from gen_jax.nn.fit import Size
from gen_jax.nn.resample import repeat_pixels

_INIT = nnx.initializers.lecun_normal()


class PixelCNN(nnx.Module):
    """``p(code_i | code_<i, label, coarser codes)`` as logits, of codes row by row.

    Args:
      codes: size of the alphabet.
      size: rows and columns of the grid.
      classes: number of labels; 0 without.
      width: channels of both stacks.
      layers: of either stack.
      kernel: K of (1), odd.
      coarse: rows and columns of a grid of codes, each half as many, rounded up, that are told; None for none.
      coarse_codes: size of their alphabet.
    """

    def __init__(
        self,
        codes: int,
        size: Size,
        *,
        classes: int,
        width: int,
        layers: int,
        kernel: int = 3,
        coarse: Size | None = None,
        coarse_codes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.size, self.coarse = size, coarse
        self.embed = nnx.Embed(codes, width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.label = nnx.Embed(max(classes, 1), width, embedding_init=nnx.initializers.normal(0.1), rngs=rngs)
        self.above = _Coarse(coarse_codes, width, rngs=rngs) if coarse else None
        radius = kernel // 2
        own = [radius - 1, *[radius] * (layers - 1)]
        self.layers = nnx.List(
            _Layer(width, radius, before, is_first=not index, rngs=rngs) for index, before in enumerate(own)
        )
        self.hidden = Conv(width, width, 1, rngs=rngs)
        self.head = Conv(width, codes, 1, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(
        self,
        index: jax.Array,
        label: jax.Array,
        coarse: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Logits ``[B, T, codes]`` from codes int32 ``[B, T]``, labels int32 ``[B]`` and coarser codes."""
        embedded = self.embed(index).reshape(len(index), *self.size, -1)
        return self.logits(embedded, label, coarse)

    def logits(self, embedded: jax.Array, label: jax.Array, coarse: jax.Array | None = None) -> jax.Array:
        """Logits ``[B, T, codes]`` from embedded codes ``[B, rows, columns, width]``."""
        condition = self.label(label)[:, None, None]
        if self.above is not None and self.coarse is not None and coarse is not None:
            told = self.above(coarse.reshape(len(coarse), *self.coarse))
            condition = condition + told[:, : self.size[0], : self.size[1]]
        v = h = embedded
        for layer in self.layers:
            v, h = layer(v, h, condition)
        h = self.head(jax.nn.relu(self.hidden(jax.nn.relu(h))))
        return h.reshape(len(h), math.prod(self.size), -1)


class _Coarse(nnx.Module):
    """Codes ``[B, h, w]`` as ``[B, 2 h, 2 w, width]``, each of which knows those around it."""

    def __init__(self, codes: int, width: int, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(codes, width, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        self.convolutions = nnx.List(Conv(width, width, rngs=rngs) for _ in range(2))

    def __call__(self, index: jax.Array) -> jax.Array:
        x = self.embed(index)
        for convolution in self.convolutions:
            x = x + convolution(jax.nn.relu(x))
        return repeat_pixels(x, 2)


class _Cut(nnx.Module):
    """A convolution that sees so many pixels above, to the left and to the right of its own, and those themselves."""

    def __init__(self, inputs: int, outputs: int, above: int, left: int, right: int, *, rngs: nnx.Rngs):
        self.padding = [(above, 0), (left, right)]
        shape = (above + 1, left + right + 1, inputs, outputs)
        self.kernel = nnx.Param(_INIT(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return convolve(x, self.kernel[...], padding=self.padding) + self.bias[...]


class _Layer(nnx.Module):
    """(1) to (3); the first horizontal convolution is given its inputs a column late."""

    def __init__(self, width: int, radius: int, before: int, *, is_first: bool, rngs: nnx.Rngs):
        self.is_first = is_first
        self.vertical = _Cut(width, 2 * width, radius, radius, radius, rngs=rngs)
        self.horizontal = _Cut(width, 2 * width, 0, before, 0, rngs=rngs)
        self.down = Conv(2 * width, 2 * width, 1, rngs=rngs)
        self.condition = nnx.List(Conv(width, 2 * width, 1, use_bias=False, rngs=rngs) for _ in range(2))
        self.out = Conv(width, width, 1, rngs=rngs)

    def __call__(self, v: jax.Array, h: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        a = self.vertical(v)
        b = self.horizontal(_moved(h, 2) if self.is_first else h) + self.down(_moved(a, 1))
        told = [each(condition) for each in self.condition]
        out = self.out(_gate(b + told[1]))
        return _gate(a + told[0]), out if self.is_first else h + out


def _moved(x: jax.Array, axis: int) -> jax.Array:
    """By one along an axis, with a zero where nothing comes from."""
    return jnp.roll(x, 1, axis).at[(slice(None),) * axis + (0,)].set(0)


def _gate(x: jax.Array) -> jax.Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)
