"""Monotone splines of rational quadratics.

Durkan, Bekasov, Murray and Papamakarios 2019, "Neural spline flows" (arXiv:1906.04032). Of K bins on [-b, b], with
knots (x_k, y_k), slopes s_k = (y_k+1 - y_k) / (x_k+1 - x_k), derivatives d_k and t = (x - x_k) / (x_k+1 - x_k):

(1) y  = y_k + (y_k+1 - y_k) (s t^2 + d_k t (1 - t)) / (s + (d_k+1 + d_k - 2 s) t (1 - t))
(2) y' = s^2 (d_k+1 t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / (s + (d_k+1 + d_k - 2 s) t (1 - t))^2
(3) x from y: the root t of a quadratic, by the formula that does not cancel

Outside [-b, b] it is the identity, and its derivative at the ends is 1. Of each number 3 K - 1 raw parameters: widths
and heights of the bins by softmax, derivatives at the K - 1 inner knots by softplus. With all at 0, it is the identity.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

SMALLEST = 1e-3  # share of a bin, and derivative
_ONE = math.log(math.expm1(1 - SMALLEST))  # softplus of which, and SMALLEST, make 1


class Bin(NamedTuple):
    """Where a number lies: its bin's lower corner, width and height, and the derivatives at both its knots."""

    x: jax.Array
    y: jax.Array
    width: jax.Array
    height: jax.Array
    first: jax.Array
    last: jax.Array


def forward(x: jax.Array, raw: jax.Array, bound: float) -> tuple[jax.Array, jax.Array]:
    """(1), and the logarithm of (2), both of the shape of ``x``; ``raw [*x.shape, 3 K - 1]``."""
    inside = jnp.abs(x) < bound
    at = jnp.where(inside, x, 0.0)
    knots = _knots(raw, bound)
    k = _bin(at, knots[0], knots)
    slope, t = k.height / k.width, (at - k.x) / k.width
    both = t * (1 - t)
    below = slope + (k.last + k.first - 2 * slope) * both
    y = k.y + k.height * (slope * t**2 + k.first * both) / below
    above = k.last * t**2 + 2 * slope * both + k.first * (1 - t) ** 2
    log_derivative = 2 * jnp.log(slope) + jnp.log(above) - 2 * jnp.log(below)
    return jnp.where(inside, y, x), jnp.where(inside, log_derivative, 0.0)


def inverse(y: jax.Array, raw: jax.Array, bound: float) -> jax.Array:
    """(3), of the shape of ``y``."""
    inside = jnp.abs(y) < bound
    at = jnp.where(inside, y, 0.0)
    knots = _knots(raw, bound)
    k = _bin(at, knots[1], knots)
    slope, up = k.height / k.width, at - k.y
    bend = k.last + k.first - 2 * slope
    a = k.height * (slope - k.first) + up * bend
    b = k.height * k.first - up * bend
    c = -slope * up
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0))
    return jnp.where(inside, k.x + k.width * 2 * c / (-b - root), y)


def _knots(raw: jax.Array, bound: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Their x, their y and the derivatives there, each ``[..., K + 1]``."""
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, inner = jnp.split(raw, [bins, 2 * bins], axis=-1)
    ends = [(0, 0)] * (raw.ndim - 1) + [(1, 1)]
    derivatives = jnp.pad(SMALLEST + jax.nn.softplus(inner + _ONE), ends, constant_values=1.0)
    return _cumulative(widths, bound), _cumulative(heights, bound), derivatives


def _cumulative(raw: jax.Array, bound: float) -> jax.Array:
    bins = raw.shape[-1]
    shares = SMALLEST + (1 - SMALLEST * bins) * jax.nn.softmax(raw)
    inner = bound * (2 * jnp.cumsum(shares, axis=-1)[..., :-1] - 1)
    end = jnp.full_like(raw[..., :1], bound)
    return jnp.concatenate([-end, inner, end], axis=-1)


def _bin(at: jax.Array, along: jax.Array, knots: tuple[jax.Array, jax.Array, jax.Array]) -> Bin:
    """The bin that holds each number on the axis of ``along``."""
    index = jnp.sum(at[..., None] >= along[..., 1:-1], axis=-1, keepdims=True)

    def pair(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        low, high = (jnp.take_along_axis(values, index + i, axis=-1)[..., 0] for i in (0, 1))
        return low, high

    (x, next_x), (y, next_y), (first, last) = map(pair, knots)
    return Bin(x, y, next_x - x, next_y - y, first, last)
