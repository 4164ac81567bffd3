"""What a raw network sees of x_t and of its time, and how its output becomes a denoiser.

Karras et al. 2022 (arXiv:2206.00364), section 5 and table 1, here for any process, with r = sigma / alpha and data of
standard deviation d; Song et al. 2021 (arXiv:2011.13456) for what VP and VE tell.

(1) D(x_t, t) = from F(in x_t, noise),  by the table of predictions in :mod:`gen_jax.diffusion.process` or by (2)
(2) D = skip x_t / alpha + out F,  skip = d^2 / (r^2 + d^2),  out = r d / sqrt(r^2 + d^2)
(3) in = 1 / sqrt(sigma^2 + alpha^2 d^2),  noise = log(r) / 4
(4) loss = weight E |D(x_t, t) - x_0|^2,  weight = (r^2 + d^2) / (r d)^2

With (2) and (3) input and target of the network have unit variance at every noise, and (4) is E |F - target|^2: that of
a network that gives 0 is the variance of the data over d^2 at every t.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import Prediction, Process, against


class Inputs(NamedTuple):
    """``scale(process, t [B])`` multiplies x_t, and ``noise(process, t [B])`` tells the network its noise."""

    scale: Callable[[Process, jax.Array], jax.Array]
    noise: Callable[[Process, jax.Array], jax.Array]


def counted_time(factor: float) -> Inputs:
    """x_t as it is, and ``factor`` t."""
    return Inputs(lambda process, t: jnp.ones(()), lambda process, t: t * factor)


def log_noise(factor: float) -> Inputs:
    """x_t as it is, and ``factor`` log(r / 2), made for processes whose noise explodes."""
    return Inputs(lambda process, t: jnp.ones(()), lambda process, t: factor * jnp.log(ratio(process, t) / 2))


def edm_inputs(*, data_spread: float = 0.5, factor: float = 1.0) -> Inputs:
    """(3); ``factor`` multiplies the noise."""

    def scale(process: Process, t: jax.Array) -> jax.Array:
        return 1 / jnp.hypot(process.sigma(t), process.alpha(t) * data_spread)

    return Inputs(scale, lambda process, t: factor / 4 * jnp.log(ratio(process, t)))


def edm_prediction(*, data_spread: float = 0.5) -> Prediction:
    """(2)."""

    def shares(process: Process, x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        r = ratio(process, t)
        spread = jnp.hypot(r, data_spread)
        skip, out = (data_spread / spread) ** 2, r * data_spread / spread
        return against(skip / process.alpha(t), x), against(out, x)

    def target(process: Process, x_0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
        # In closed form, since (x_0 - skip x_t) / out loses its digits where there is little noise.
        alpha, sigma = process.at(t, x_0)
        r = sigma / alpha
        return (r * x_0 - data_spread**2 * eps) / (data_spread * jnp.hypot(r, data_spread))

    def x_0(process: Process, y: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        skip, out = shares(process, x_t, t)
        return skip * x_t + out * y

    return Prediction(target, x_0)


def edm_weight(*, data_spread: float = 0.5) -> Callable[[Process, jax.Array], jax.Array]:
    """The weight of (4), of errors in x_0."""

    def weight(process: Process, t: jax.Array) -> jax.Array:
        r = ratio(process, t)
        return (r**2 + data_spread**2) / (r * data_spread) ** 2

    return weight


def ratio(process: Process, t: jax.Array) -> jax.Array:
    """R."""
    return process.sigma(t) / process.alpha(t)
