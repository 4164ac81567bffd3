"""Filters of images at any change of resolution, and low-pass filters to have them by.

Karras et al. 2021, "Alias-free generative adversarial networks" (arXiv:2106.12423), and Kaiser 1974. Along either axis,
with u - 1 zeros behind every pixel, p zeros before and q behind all (or that many cut off), n taps f, and every d-th
value kept:

    z[u i] = x[i],  others 0                                 side u H + p + q                                       (1)
    y[j] = gain sum over k of f[k] z[d j - p + n - 1 - k]    side (u H + p + q - n) // d + 1                        (2)

A low-pass filter of n taps at places t_i = (i - (n - 1) / 2) / rate, with a cutoff c and a transition of width b:

    f_i ~ sin(2 pi c t_i) / (pi t_i) kaiser(n, beta)_i                              that add up to 1                (3)
    f_ij ~ J_1(2 pi c r_ij) / r_ij kaiser(n, beta)_i kaiser(n, beta)_j,  r = |t|    the same in every direction     (4)
    attenuation A = 2.285 (n - 1) pi 2 b / rate + 7.95 decibels
    beta = 0.1102 (A - 8.7) where A > 50,  0.5842 (A - 21)^0.4 + 0.07886 (A - 21) where A > 21,  else 0             (5)

(2) is a convolution of dilated images. Where these are small and the filter is one for each axis, it is written as a
product with a matrix for each axis: a CPU has only a plain loop for convolutions of dilated images of one channel.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import j1

DENSE = 256
"""The largest side, between the steps of (2), that is filtered by matrices."""


def upfirdn(
    x: jax.Array, f: np.ndarray, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0), gain: float = 1.0
) -> jax.Array:
    """(2) along both axes of ``x [B, H, W, C]``.

    Args:
      x: images.
      f: taps ``[n]``, for either axis, or ``[n, n]``.
      up: u.
      down: d.
      padding: p, q.
      gain: of the whole; ``up^2`` keeps a constant image that zeros were put between.
    """
    f = np.asarray(f, np.float32)
    if f.ndim == 1:
        root = math.sqrt(gain)
        if up * max(x.shape[1:3]) <= DENSE:
            rows, columns = (root * _matrix(side, f, up, down, padding) for side in x.shape[1:3])
            return jnp.einsum("ih,bhwc,jw->bijc", jnp.asarray(rows, x.dtype), x, jnp.asarray(columns, x.dtype))
        x = _filtered(x, root * f[:, None], (up, 1), (down, 1), (padding, (0, 0)))
        return _filtered(x, root * f[None], (1, up), (1, down), ((0, 0), padding))
    return _filtered(x, gain * f, (up, up), (down, down), (padding, padding))


def low_pass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """(3): float64 ``[taps]``; 1 where there is one tap."""
    window, t = _window(taps, width, rate), _places(taps, rate)
    f = 2 * cutoff * np.sinc(2 * cutoff * t) * window
    return f / f.sum()


def radial_low_pass(taps: int, cutoff: float, width: float, rate: float) -> np.ndarray:
    """(4), of an even number of taps: float64 ``[taps, taps]``."""
    window, t = _window(taps, width, rate), _places(taps, rate)
    r = np.hypot(t[:, None], t)
    f = j1(2 * np.pi * cutoff * r) / r * np.outer(window, window)
    return f / f.sum()


def _filtered(x: jax.Array, f: np.ndarray, up: Any, down: Any, padding: Any) -> jax.Array:
    """One filter for all channels, as a convolution of images of one channel."""
    b, h, w, c = x.shape
    flat = x.transpose(0, 3, 1, 2).reshape(b * c, h, w, 1)
    # A dilated image has no zeros behind its last pixel.
    pads = [(low, high + u - 1) for (low, high), u in zip(padding, up, strict=True)]
    kernel = jnp.asarray(f[::-1, ::-1].copy(), x.dtype)[..., None, None]
    y = jax.lax.conv_general_dilated(
        flat, kernel, down, pads, lhs_dilation=up, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.reshape(b, c, *y.shape[1:3]).transpose(0, 2, 3, 1)


def _matrix(side: int, f: np.ndarray, up: int, down: int, padding: tuple[int, int]) -> np.ndarray:
    """(2) of every unit vector: ``[out, side]``."""
    out = (up * side + sum(padding) - len(f)) // down + 1
    tap = down * np.arange(out)[:, None] - padding[0] + len(f) - 1 - up * np.arange(side)
    return np.where((tap >= 0) & (tap < len(f)), f[np.clip(tap, 0, len(f) - 1)], 0.0)


def _places(taps: int, rate: float) -> np.ndarray:
    return (np.arange(taps) - (taps - 1) / 2) / rate


def _window(taps: int, width: float, rate: float) -> np.ndarray:
    attenuation = 2.285 * (taps - 1) * np.pi * 2 * width / rate + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * max(attenuation - 21, 0) ** 0.4 + 0.07886 * max(attenuation - 21, 0)
    return np.kaiser(taps, beta)
