"""Increasing functions of one number, of raw parameters: what couplings and autoregressive layers are made of.

x exp(2 tanh(a / 2)) + b, and the splines of :mod:`gen_jax.nn.splines`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.nn import splines

LARGEST = 2.0  # logarithm of an affine scale


class Transform(NamedTuple):
    """An increasing function of a number, of so many raw parameters; with all at 0, the identity."""

    parameters: int
    forward: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    """``x``, ``raw [*x.shape, parameters]`` to ``y`` and the logarithm of its derivative, of the shape of ``x``."""
    inverse: Callable[[jax.Array, jax.Array], jax.Array]


def _scale_and_shift(raw: jax.Array) -> tuple[jax.Array, jax.Array]:
    return LARGEST * jnp.tanh(raw[..., 0] / LARGEST), raw[..., 1]


def _affine(x: jax.Array, raw: jax.Array) -> tuple[jax.Array, jax.Array]:
    log_scale, shift = _scale_and_shift(raw)
    return x * jnp.exp(log_scale) + shift, log_scale


def _affine_inverse(y: jax.Array, raw: jax.Array) -> jax.Array:
    log_scale, shift = _scale_and_shift(raw)
    return (y - shift) * jnp.exp(-log_scale)


AFFINE = Transform(2, _affine, _affine_inverse)


def spline(bins: int, bound: float) -> Transform:
    """Of :mod:`gen_jax.nn.splines`, on [-bound, bound]."""
    return Transform(3 * bins - 1, partial(splines.forward, bound=bound), partial(splines.inverse, bound=bound))
