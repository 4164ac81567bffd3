"""Changes of resolution, over NHWC images.

Three filters, each with its way up and down by two. ``BOX`` repeats pixels and averages blocks of them.
``FIR`` is ``[1, 3, 3, 1] / 8`` along each axis, where a pixel outside the image counts as zero (Karras et al. 2020,
arXiv 1912.04958, from Zhang 2019, arXiv 1904.11486). Zeros between the pixels, twice the filter, and no zero is
multiplied:

    up    y[2i] = (x[i - 1] + 3 x[i]) / 4        y[2i + 1] = (3 x[i] + x[i + 1]) / 4                       (1)
    down  y[i] = (x[2i - 1] + 3 x[2i] + 3 x[2i + 1] + x[2i + 2]) / 8                                       (2)

``TENT`` is ``[1, 2, 1] / 4``, with a pixel outside at zero again, and its way up is twice its way down transposed:

    up    y[2i] = x[i]                         y[2i + 1] = (x[i] + x[i + 1]) / 2                           (3)
    down  y[i] = (x[2i - 1] + 2 x[2i] + x[2i + 1]) / 4                                                     (4)

A constant image stays constant, but for ``BOX`` away from the border. Rearranging blocks of pixels into channels, and
back, changes the resolution without losing anything.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Resampler(NamedTuple):
    """A filter's way up and down by two, each ``[B, H, W, C] -> [B, H', W', C]``."""

    up: Callable[[jax.Array], jax.Array]
    down: Callable[[jax.Array], jax.Array]


def upsample(x: jax.Array) -> jax.Array:
    """(1): ``[B, H, W, C] -> [B, 2 H, 2 W, C]``."""
    return _upsample(_upsample(x, 1), 2)


def downsample(x: jax.Array) -> jax.Array:
    """(2): ``[B, H, W, C] -> [B, H / 2, W / 2, C]``; H and W even."""
    return _downsample(_downsample(x, 1), 2)


def blur(x: jax.Array, padding: int) -> jax.Array:
    """The filter alone: ``[B, H, W, C] -> [B, H + 2 padding - 3, W + 2 padding - 3, C]``."""
    for axis in (1, 2):
        padded = _pad(x, axis, padding, padding)
        size = padded.shape[axis] - 3
        taps = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(4)]
        x = 0.125 * (taps[0] + taps[3]) + 0.375 * (taps[1] + taps[2])
    return x


def repeat_pixels(x: jax.Array, times: int) -> jax.Array:
    """Nearest-neighbour enlargement: ``[B, H, W, C] -> [B, times H, times W, C]``."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, times, w, times, c))
    return x.reshape(b, h * times, w * times, c)


def mean_pixels(x: jax.Array, block: int) -> jax.Array:
    """Means over blocks of pixels: ``[B, H, W, C] -> [B, H / block, W / block, C]``."""
    b, h, w, c = x.shape
    return x.reshape(b, h // block, block, w // block, block, c).mean(axis=(2, 4))


def _tent_up(x: jax.Array) -> jax.Array:
    for axis in (1, 2):
        size = x.shape[axis]
        after = jax.lax.slice_in_dim(_pad(x, axis, 0, 1), 1, size + 1, axis=axis)
        phases = jnp.stack([x, 0.5 * (x + after)], axis=axis + 1)
        x = phases.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def _tent_down(x: jax.Array) -> jax.Array:
    for axis in (1, 2):
        size = x.shape[axis] // 2
        pairs = x.reshape(*x.shape[:axis], size, 2, *x.shape[axis + 1 :])
        even, odd = (jax.lax.index_in_dim(pairs, i, axis=axis + 1, keepdims=False) for i in (0, 1))
        before = jax.lax.slice_in_dim(_pad(odd, axis, 1, 0), 0, size, axis=axis)  # x[2i - 1]
        x = 0.25 * (before + odd) + 0.5 * even
    return x


FIR = Resampler(upsample, downsample)
TENT = Resampler(_tent_up, _tent_down)
BOX = Resampler(partial(repeat_pixels, times=2), partial(mean_pixels, block=2))


def space_to_depth(x: jax.Array, block: int) -> jax.Array:
    """Blocks of pixels as channels: ``[B, H, W, C] -> [B, H / block, W / block, block^2 C]``."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """The inverse of :func:`space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * block, w * block, c // block**2)


def _upsample(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis]
    padded = _pad(x, axis, 1, 1)
    before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
    after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    phases = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
    return phases.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _downsample(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis] // 2
    pairs = x.reshape(*x.shape[:axis], size, 2, *x.shape[axis + 1 :])
    even, odd = (jax.lax.index_in_dim(pairs, i, axis=axis + 1, keepdims=False) for i in (0, 1))
    before = jax.lax.slice_in_dim(_pad(odd, axis, 1, 0), 0, size, axis=axis)  # x[2i - 1]
    after = jax.lax.slice_in_dim(_pad(even, axis, 0, 1), 1, size + 1, axis=axis)  # x[2i + 2]
    return 0.375 * (even + odd) + 0.125 * (before + after)


def _pad(x: jax.Array, axis: int, low: int, high: int) -> jax.Array:
    return jnp.pad(x, [(low, high) if i == axis else (0, 0) for i in range(x.ndim)])
