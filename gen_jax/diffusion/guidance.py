"""Maps from denoisers to a denoiser.

Ho and Salimans 2022, "Classifier-free diffusion guidance" (arXiv:2207.12598).

(1) D = D_unconditional + s (D_conditional - D_unconditional)

The paper writes (1 + w) D_conditional - w D_unconditional, which is (1) with s = 1 + w. Here s = 1 is the conditional
model, s = 0 the unconditional one, s > 1 trades coverage for fidelity. At a given x_t the noise, v and the score are
affine in E[x_0 | x_t], so (1) guides any of them alike.
"""

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import Denoise


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
