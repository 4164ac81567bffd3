"""Gaussian paths from data to noise, and what a network may be asked to predict along them.

Sohl-Dickstein et al. 2015 (arXiv:1503.03585), Ho, Jain and Abbeel 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021
(arXiv:2102.09672, the cosine schedule), Salimans and Ho 2022 (arXiv:2202.00512, v), Kingma et al. 2021
(arXiv:2107.00630, the general form of (2) to (4)).

(1) x_t = alpha_t x_0 + sigma_t eps,  eps ~ N(0, I)
(2) q(x_t | x_s) = N(alpha_ts x_s, sigma_ts^2 I),  alpha_ts = alpha_t / alpha_s,
                   sigma_ts^2 = sigma_t^2 - alpha_ts^2 sigma_s^2,  for s before t
(3) q(x_s | x_t, x_0) has mean  (alpha_ts sigma_s^2 x_t + alpha_s sigma_ts^2 x_0) / sigma_t^2
(4)                   variance  sigma_ts^2 sigma_s^2 / sigma_t^2
(5) v = alpha_t eps - sigma_t x_0,  score = -eps / sigma_t

A discrete chain has times t = 0 .. T-1, where T-1 is nearly pure noise, and t = -1 is the data themselves. On it (2) is
the chain's own step, with sigma_ts^2 = beta_t, where s = t - 1; and it is a step of a shorter chain for any other s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Denoise = Callable[[jax.Array, jax.Array], jax.Array]  # x_t [B, ...], t [B] -> E[x_0 | x_t] [B, ...]


@dataclass(frozen=True)
class Process:
    """The path (1). Times are scalars or ``[B]``; what comes back broadcasts against ``x [B, ...]``."""

    alpha: Callable[[jax.Array], jax.Array]
    sigma: Callable[[jax.Array], jax.Array]

    def at(self, t: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``alpha_t`` and ``sigma_t``, shaped to multiply ``x``."""
        return _against(self.alpha(t), x), _against(self.sigma(t), x)

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


def discrete(betas: np.ndarray) -> Process:
    """The chain whose step ``t`` has variance ``betas[t]``, computed in float64."""
    alpha_bar = np.concatenate([[1.0], np.cumprod(1.0 - np.asarray(betas, np.float64))])
    alpha, sigma = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)
    return Process(lambda t: jnp.asarray(alpha)[t + 1], lambda t: jnp.asarray(sigma)[t + 1])


def linear_betas(timesteps: int, *, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """Evenly spaced, as in Ho et al. for 1000 steps; other numbers of steps want other ends."""
    return np.linspace(first, last, timesteps, dtype=np.float64)


def scaled_linear_betas(timesteps: int, *, first: float = 0.00085, last: float = 0.012) -> np.ndarray:
    """Evenly spaced square roots, as in latent diffusion."""
    return np.linspace(np.sqrt(first), np.sqrt(last), timesteps, dtype=np.float64) ** 2


def sigmoid_betas(timesteps: int, *, first: float = 1e-4, last: float = 0.02) -> np.ndarray:
    """A sigmoid between -6 and 6, from ``first`` to ``last``."""
    return first + (last - first) / (1.0 + np.exp(-np.linspace(-6.0, 6.0, timesteps, dtype=np.float64)))


def cosine_betas(timesteps: int, *, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """``alpha_bar`` a squared cosine of time, for any number of steps; no beta above ``largest``."""
    time = np.linspace(0.0, 1.0, timesteps + 1, dtype=np.float64)
    alpha_bar = np.cos((time + offset) / (1.0 + offset) * np.pi / 2) ** 2
    return np.minimum(1.0 - alpha_bar[1:] / alpha_bar[:-1], largest)


class Prediction(NamedTuple):
    """What a network predicts: ``target(x_0, eps, alpha, sigma)``, and ``x_0(prediction, x_t, alpha, sigma)`` back."""

    target: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]
    x_0: Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


X0 = Prediction(lambda x_0, eps, alpha, sigma: x_0, lambda y, x_t, alpha, sigma: y)
EPS = Prediction(lambda x_0, eps, alpha, sigma: eps, lambda y, x_t, alpha, sigma: (x_t - sigma * y) / alpha)
SCORE = Prediction(
    lambda x_0, eps, alpha, sigma: -eps / sigma, lambda y, x_t, alpha, sigma: (x_t + sigma**2 * y) / alpha
)
V = Prediction(
    lambda x_0, eps, alpha, sigma: alpha * eps - sigma * x_0,
    lambda y, x_t, alpha, sigma: (alpha * x_t - sigma * y) / (alpha**2 + sigma**2),
)


def convert(
    process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array, source: Prediction, target: Prediction
) -> jax.Array:
    """A prediction of one kind as the same prediction of another, at the same ``x_t``."""
    alpha, sigma = process.at(t, x_t)
    x_0 = source.x_0(y, x_t, alpha, sigma)
    return target.target(x_0, process.noise(x_t, x_0, t), alpha, sigma)


def denoiser(process: Process, predict: Callable[[jax.Array, jax.Array], jax.Array], prediction: Prediction) -> Denoise:
    """The denoiser of a network ``predict(x_t, t)`` of some other quantity."""

    def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
        return prediction.x_0(predict(x_t, t), x_t, *process.at(t, x_t))

    return denoise


def _against(a: jax.Array, x: jax.Array) -> jax.Array:
    return a.reshape(a.shape + (1,) * (x.ndim - a.ndim))
