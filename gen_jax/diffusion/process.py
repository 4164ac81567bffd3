"""Gaussian paths from data to noise, and what a network may be asked to predict along them.

Sohl-Dickstein et al. 2015 (arXiv:1503.03585); Kingma et al. 2021 (arXiv:2107.00630), the general form of (2) to (4);
Song et al. 2021 (arXiv:2011.13456), (6) and (7); Salimans and Ho 2022 (arXiv:2202.00512), v; Lipman et al. 2023
(arXiv:2210.02747), the velocity.

(1) x_t = alpha_t x_0 + sigma_t eps,  eps ~ N(0, I)
(2) q(x_t | x_s) = N(alpha_ts x_s, sigma_ts^2 I),  alpha_ts = alpha_t / alpha_s,
                   sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2,  for s before t
(3) q(x_s | x_t, x_0) has mean  (alpha_ts sigma_s^2 x_t + alpha_s sigma_ts^2 x_0) / sigma_t^2
(4)                   variance  sigma_ts^2 sigma_s^2 / sigma_t^2
(5) v = alpha_t eps - sigma_t x_0,  score = -eps / sigma_t,  velocity = alpha'_t x_0 + sigma'_t eps
(6) dx = f_t x dt + g_t dw,  f_t = alpha'_t / alpha_t,  g_t^2 = 2 sigma_t sigma'_t - 2 f_t sigma_t^2
(7) dx = (f_t x - g_t^2 / 2 score) dt = E[velocity | x_t] dt,  the probability flow, with the same marginals

With E[x_0 | x_t] in place of x_0, (5) turns a denoiser into a network's other quantities and back. Where time is
continuous, rates are derivatives of alpha and sigma; a chain has none. The processes themselves are in
:mod:`gen_jax.diffusion.schedules`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

Denoise = Callable[[jax.Array, jax.Array], jax.Array]  # x_t [B, ...], t [B] -> E[x_0 | x_t] [B, ...]


@dataclass(frozen=True)
class Process:
    """The path (1). Times are scalars or ``[B]``; what comes back broadcasts against ``x [B, ...]``."""

    alpha: Callable[[jax.Array], jax.Array]
    sigma: Callable[[jax.Array], jax.Array]
    time: Callable[[jax.Array], jax.Array] | None = None
    """The time at which ``sigma / alpha`` has a given value; not known of a chain."""

    def at(self, t: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``alpha_t`` and ``sigma_t``, shaped to multiply ``x``."""
        return against(self.alpha(t), x), against(self.sigma(t), x)

    def rates(self, t: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``alpha'_t`` and ``sigma'_t``, shaped to multiply ``x``; time must be continuous."""
        t = jnp.asarray(t)
        if not jnp.issubdtype(t.dtype, jnp.floating):
            raise TypeError(f"a rate needs a continuous time, got {t.dtype}; take a process of continuous time")
        rates = (jax.jvp(f, (t,), (jnp.ones_like(t),))[1] for f in (self.alpha, self.sigma))
        alpha, sigma = (against(rate, x) for rate in rates)
        return alpha, sigma

    def forward(self, t: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``f_t`` and ``g_t^2`` of (6), shaped to multiply ``x``."""
        alpha, sigma = self.at(t, x)
        alpha_rate, sigma_rate = self.rates(t, x)
        drift = alpha_rate / alpha
        return drift, 2 * sigma * (sigma_rate - drift * sigma)

    def flow(self, denoise: Denoise, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """(7), the velocity of the probability flow at ``x_t [B, ...]`` and one time."""
        x_0 = denoise(x_t, jnp.broadcast_to(t, x_t.shape[:1]))
        return VELOCITY.target(self, x_0, self.noise(x_t, x_0, t), t)

    def diffuse(self, x_0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """``x_t`` of (1)."""
        alpha, sigma = self.at(t, x_0)
        return alpha * x_0 + sigma * noise

    def noise(self, x_t: jax.Array, x_0: jax.Array, t: jax.Array) -> jax.Array:
        """The ``eps`` that (1) must have had."""
        alpha, sigma = self.at(t, x_t)
        return (x_t - alpha * x_0) / sigma

    def step_variance(self, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
        """``sigma_ts^2`` of (2)."""
        # By sigmas, not as 1 - alpha_ts^2: near the data that would leave three digits of float32.
        alpha_t, sigma_t = self.at(t, x)
        alpha_s, sigma_s = self.at(s, x)
        return sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2

    def posterior_variance(self, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
        """(4)."""
        _, sigma_t = self.at(t, x)
        _, sigma_s = self.at(s, x)
        return self.step_variance(x, t, s) * (sigma_s / sigma_t) ** 2

    def posterior_mean(self, x_t: jax.Array, x_0: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
        """(3)."""
        alpha_t, sigma_t = self.at(t, x_t)
        alpha_s, sigma_s = self.at(s, x_t)
        kept = alpha_t / alpha_s * (sigma_s / sigma_t) ** 2
        return kept * x_t + alpha_s * self.step_variance(x_t, t, s) / sigma_t**2 * x_0


class Prediction(NamedTuple):
    """What a network predicts, by (5).

    ``target(process, x_0, eps, t)`` makes it, and ``x_0(process, prediction, x_t, t)`` is the way back.
    """

    target: Callable[[Process, jax.Array, jax.Array, jax.Array], jax.Array]
    x_0: Callable[[Process, jax.Array, jax.Array, jax.Array], jax.Array]


def _x_0_of_eps(process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
    alpha, sigma = process.at(t, x_t)
    return (x_t - sigma * y) / alpha


def _score(process: Process, x_0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    return -eps / process.at(t, x_0)[1]


def _x_0_of_score(process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
    alpha, sigma = process.at(t, x_t)
    return (x_t + sigma**2 * y) / alpha


def _v(process: Process, x_0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    alpha, sigma = process.at(t, x_0)
    return alpha * eps - sigma * x_0


def _x_0_of_v(process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
    alpha, sigma = process.at(t, x_t)
    return (alpha * x_t - sigma * y) / (alpha**2 + sigma**2)


def _velocity(process: Process, x_0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    alpha_rate, sigma_rate = process.rates(t, x_0)
    return alpha_rate * x_0 + sigma_rate * eps


def _x_0_of_velocity(process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
    alpha, sigma = process.at(t, x_t)
    alpha_rate, sigma_rate = process.rates(t, x_t)
    return (sigma * y - sigma_rate * x_t) / (sigma * alpha_rate - sigma_rate * alpha)


X0 = Prediction(lambda process, x_0, eps, t: x_0, lambda process, y, x_t, t: y)
EPS = Prediction(lambda process, x_0, eps, t: eps, _x_0_of_eps)
SCORE = Prediction(_score, _x_0_of_score)
V = Prediction(_v, _x_0_of_v)
VELOCITY = Prediction(_velocity, _x_0_of_velocity)


def convert(
    process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array, source: Prediction, target: Prediction
) -> jax.Array:
    """A prediction of one kind as the same prediction of another, at the same ``x_t``."""
    x_0 = source.x_0(process, y, x_t, t)
    return target.target(process, x_0, process.noise(x_t, x_0, t), t)


def denoiser(process: Process, predict: Callable[[jax.Array, jax.Array], jax.Array], prediction: Prediction) -> Denoise:
    """The denoiser of a network ``predict(x_t, t)`` of some other quantity."""
    return lambda x_t, t: prediction.x_0(process, predict(x_t, t), x_t, t)


def against(a: jax.Array, x: jax.Array) -> jax.Array:
    """``a``, a scalar or ``[B]``, shaped to multiply ``x [B, ...]``."""
    return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))
