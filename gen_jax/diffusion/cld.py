"""Critically damped Langevin diffusion: noise enters the velocity of the data, and reaches them through it.

Dockhorn, Vahdat and Kreis 2022, "Score-based generative modeling with critically-damped Langevin diffusion"
(arXiv:2112.07068). The paper's velocity is sqrt(M) w, its friction Gamma = 2 sqrt(M), and its beta / sqrt(M) is b here,
so that the mass M drops out: both x and w have unit variance in the end.

(1) dx = b w dt,  dw = -b x dt - 2 b w dt + 2 sqrt(b) dW,  w_0 ~ N(0, g)
(2) mean of (x_t, w_t) given x_0 = exp(-r) (1 + r, -r) x_0,  r = b t
(3) covariance  S_xx = P + g r^2 q,  S_xw = (2 r^2 + g r (1 - r)) q,  S_ww = P + 4 r q + g (1 - r)^2 q,
    q = exp(-2 r),  P = 1 - (1 + 2 r + 2 r^2) q, the incomplete gamma function of 3 at 2 r
(4) (x_t, w_t) = mean + L (eps_x, eps_w),  L the lower root of (3);  the score in w given x_0 is -eps_w / L_ww
(5) backwards  dx = -b w dt,  dw = (b x + 2 b w + 4 b score) dt + 2 sqrt(b) dW
(6) = the exact law of dx = -b w dt, dw = (b x - 2 b w) dt + 2 sqrt(b) dW, and of dw = 4 b (score + w) dt, in turn

Splitting (6) symmetrically, with Euler's rule in its second part, is SSCS: of first order, and exact where data and
velocity are standard normal from the start, since there the second part vanishes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammainc

from gen_jax.diffusion.process import against
from gen_jax.diffusion.samplers import Times

Score = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # x, w [B, ...], t [B] -> the score in w


class Covariance(NamedTuple):
    """The three numbers of (3)."""

    xx: jax.Array
    xw: jax.Array
    ww: jax.Array

    @property
    def root(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """L of (4): its xx, wx and ww; none of a variance of 0 in x."""
        l_xx = jnp.sqrt(jnp.maximum(self.xx, 1e-18))
        l_wx = self.xw / l_xx
        return l_xx, l_wx, jnp.sqrt(jnp.maximum(self.ww - l_wx**2, 0.0))


@dataclass(frozen=True)
class CriticallyDamped:
    """(1), for t in [0, 1]."""

    rate: float = 8.0  # b; the paper's beta = 4 and M = 1/4
    velocity_variance: float = 0.04  # g

    def mean(self, x_0: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(2), of the shape of ``x_0 [B, ...]``; ``t`` is a scalar or ``[B]``."""
        r = against(self.rate * jnp.asarray(t), x_0)
        return jnp.exp(-r) * (1 + r) * x_0, -jnp.exp(-r) * r * x_0

    def covariance(self, t: jax.Array) -> Covariance:
        """(3), of the shape of ``t``."""
        r, g = self.rate * jnp.asarray(t), self.velocity_variance
        q = jnp.exp(-2 * r)
        p = gammainc(3.0, 2 * r)
        return Covariance(p + g * r**2 * q, (2 * r**2 + g * r * (1 - r)) * q, p + 4 * r * q + g * (1 - r) ** 2 * q)

    def diffuse(self, x_0: jax.Array, noise: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``x_t`` and ``w_t`` of (4)."""
        x, w = self.mean(x_0, t)
        l_xx, l_wx, l_ww = (against(part, x_0) for part in self.covariance(t).root)
        return x + l_xx * noise[0], w + l_wx * noise[0] + l_ww * noise[1]


def euler_maruyama(
    process: CriticallyDamped, score: Score, times: Times, key: jax.Array, x: jax.Array, w: jax.Array
) -> jax.Array:
    """Data from ``x`` and ``w`` at ``times[0]``, ``times [S + 1]`` decreasing, by Euler's rule on (5)."""

    def step(x: jax.Array, w: jax.Array, t: jax.Array, h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        b = process.rate
        drift = b * x + 2 * b * w + 4 * b * _at(score, x, w, t)
        noise = jax.random.normal(key, x.shape, x.dtype)
        return x - b * w * h, w + drift * h + 2 * jnp.sqrt(b * h) * noise

    return _descend(step, times, key, x, w)


def symmetric_splitting(
    process: CriticallyDamped, score: Score, times: Times, key: jax.Array, x: jax.Array, w: jax.Array
) -> jax.Array:
    """The same by (6): half of the first part, all of the second, half of the first."""

    def rotated(x: jax.Array, w: jax.Array, h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        r = process.rate * h
        q, p = jnp.exp(-2 * r), gammainc(3.0, 2 * r)
        l_xx, l_wx, l_ww = Covariance(p, -2 * r**2 * q, p + 4 * r * q).root
        noise = jax.random.normal(key, (*x.shape, 2), x.dtype)
        first, second = noise[..., 0], noise[..., 1]
        there = jnp.exp(-r) * ((1 + r) * x - r * w), jnp.exp(-r) * (r * x + (1 - r) * w)
        return there[0] + l_xx * first, there[1] + l_wx * first + l_ww * second

    def step(x: jax.Array, w: jax.Array, t: jax.Array, h: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key)
        x, w = rotated(x, w, h / 2, keys[0])
        w = w + 4 * process.rate * h * (_at(score, x, w, t) + w)
        return rotated(x, w, h / 2, keys[1])

    return _descend(step, times, key, x, w)


def _descend(
    step: Callable[..., tuple[jax.Array, jax.Array]],
    times: Times,
    key: jax.Array,
    x: jax.Array,
    w: jax.Array,
) -> jax.Array:
    times = jnp.asarray(times)

    def body(
        carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        t, s, i = now
        return step(*carry, t, t - s, jax.random.fold_in(key, i)), None

    return jax.lax.scan(body, (x, w), (times[:-1], times[1:], jnp.arange(len(times) - 1)))[0][0]


def _at(score: Score, x: jax.Array, w: jax.Array, t: jax.Array) -> jax.Array:
    return score(x, w, jnp.broadcast_to(t, x.shape[:1]))
