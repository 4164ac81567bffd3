"""How far images are apart in the features of a network.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric" (arXiv:1801.03924). With
features f_l [H, W, C] of layer l, each position's scaled to length 1,

(1) d(x, y) = sum_l mean over positions of sum_c w_lc (f_lc(x) - f_lc(y))^2

They learn w, of the features of VGG; here the features are those that are given, and every w is 1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def perceptual(x: Sequence[jax.Array], y: Sequence[jax.Array]) -> jax.Array:
    """(1) of two images' features ``[B, H, W, C]``, layer by layer: ``[B]``."""
    layers = [jnp.square(_scaled(a) - _scaled(b)).sum(axis=-1).mean(axis=(1, 2)) for a, b in zip(x, y, strict=True)]
    return jnp.stack(layers).sum(axis=0)


def _scaled(features: jax.Array) -> jax.Array:
    # The constant stands below the root: where all are zero behind a rectifier, the length has no gradient.
    return features * jax.lax.rsqrt(jnp.square(features).sum(axis=-1, keepdims=True) + 1e-10)
