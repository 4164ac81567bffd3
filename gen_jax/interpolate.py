"""Paths between latents, and sums of them.

    line  (1 - w) a + w b                                                                                      (1)
    arc   (sin((1 - w) q) a + sin(w q) b) / sin q,   q the angle between a and b                               (2)

(2): Shoemake 1985, Animating rotation with quaternion curves.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def lerp(start: jax.Array, end: jax.Array, weight: ArrayLike) -> jax.Array:
    """(1); halfway between Gaussian latents it is shorter than any of them by about sqrt(2)."""
    return start + weight * (end - start)


def slerp(start: jax.Array, end: jax.Array, weight: ArrayLike) -> jax.Array:
    """(2), over the last axis: keeps the length of Gaussian latents; opposite ends have no arc."""

    def normalised(z: jax.Array) -> jax.Array:
        return z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-12)

    cosine = jnp.sum(normalised(start) * normalised(end), axis=-1, keepdims=True)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    sine = jnp.sin(angle)
    flat = sine < 1e-4  # along one ray the arc is the line
    safe = jnp.where(flat, 1.0, sine)
    arc = (jnp.sin((1 - weight) * angle) * start + jnp.sin(weight * angle) * end) / safe
    return jnp.where(flat, lerp(start, end, weight), arc)


def arithmetic(add: Sequence[jax.Array], subtract: Sequence[jax.Array] = ()) -> jax.Array:
    """The latent ``[latent]`` of "smiling woman + man - woman": a concept is a mean over exemplars.

    Averaging is what makes it stable: a single exemplar brings all its accidents along (Radford et al. 2016).

    Args:
      add: concepts, each of latents ``[k, latent]``.
      subtract: likewise.
    """
    means = [z.mean(axis=0) for z in add] + [-z.mean(axis=0) for z in subtract]
    return jnp.sum(jnp.stack(means), axis=0)
