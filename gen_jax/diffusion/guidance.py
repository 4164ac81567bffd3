"""Maps from denoisers to a denoiser.

Ho and Salimans 2022 (arXiv:2207.12598), (1); Karras et al. 2024 (arXiv:2406.02507), autoguidance, which is (1) with a
worse model of the same condition as the base; Dhariwal and Nichol 2021 (arXiv:2105.05233), (2); Song et al. 2021
(arXiv:2011.13456), section 5, whose in-painting and colourisation (3) and (4) put as denoisers.

(1) D = D_base + s (D_conditional - D_base)
(2) D = D + s sigma_t^2 / alpha_t  grad log p(y | x_t)
(3) D = known where it is known, else D
(4) D = D - its grey + the known grey,  the grey of a pixel being the mean of its channels
(5) D = clip(D, -q, q) / q,  q >= 1 a quantile of |D| over an image

With (3) and (4) what is known follows the process that ends at it, and a last step that returns D puts it there
exactly. What is not known sees it only through x_t: exact where the two are independent, else an approximation.

The paper writes (1 + w) D_conditional - w D_unconditional, which is (1) with s = 1 + w. Here s = 1 is the conditional
model, s = 0 the base, s > 1 trades coverage for fidelity. At a given x_t the noise, v and the score are
affine in E[x_0 | x_t], so (1) guides any of them alike.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import Denoise, Process


def classifier_free(conditional: Denoise, unconditional: Denoise, *, scale: float) -> Denoise:
    """(1), at two network evaluations; with ``scale`` 1 the conditional denoiser itself."""
    if scale == 1.0:
        return conditional

    def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
        base = unconditional(x_t, t)
        return base + scale * (conditional(x_t, t) - base)

    return denoise


def clipped(denoise: Denoise, *, limit: float = 1.0) -> Denoise:
    """A denoiser that knows that data lie in ``[-limit, limit]``."""
    return lambda x_t, t: jnp.clip(denoise(x_t, t), -limit, limit)


def thresholded(denoise: Denoise, *, quantile: float = 0.995, largest: float = math.inf) -> Denoise:
    """(5), for pixels in [-1, 1] under strong guidance, with no q above ``largest``; at 1 it is :func:`clipped`."""

    def denoise_within(x_t: jax.Array, t: jax.Array) -> jax.Array:
        x_0 = denoise(x_t, t)
        axes = tuple(range(1, x_0.ndim))
        limit = jnp.clip(jnp.quantile(jnp.abs(x_0), quantile, axis=axes, keepdims=True), 1.0, largest)
        return jnp.clip(x_0, -limit, limit) / limit

    return denoise_within


def by_classifier(
    process: Process, denoise: Denoise, log_prob: Callable[[jax.Array, jax.Array], jax.Array], *, scale: float
) -> Denoise:
    """(2), for ``log_prob(x_t [B, ...], t [B]) -> [B]`` of what is wanted, by a classifier that knows noise."""

    def guided(x_t: jax.Array, t: jax.Array) -> jax.Array:
        slope = jax.grad(lambda x: log_prob(x, t).sum())(x_t)
        alpha, sigma = process.at(t, x_t)
        return denoise(x_t, t) + scale * sigma**2 / alpha * slope

    return guided


def inpainted(denoise: Denoise, known: jax.Array, mask: jax.Array) -> Denoise:
    """(3); ``mask`` is true where ``known [B, H, W, C]`` is."""
    return lambda x_t, t: jnp.where(mask, known, denoise(x_t, t))


def colourised(denoise: Denoise, grey: jax.Array) -> Denoise:
    """(4), for ``grey [B, H, W, 1]``."""

    def guided(x_t: jax.Array, t: jax.Array) -> jax.Array:
        x_0 = denoise(x_t, t)
        return x_0 - x_0.mean(axis=-1, keepdims=True) + grey

    return guided
