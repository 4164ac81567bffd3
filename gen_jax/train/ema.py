"""Exponential moving averages, by half-life.

Karras et al. 2022 (arXiv:2206.00364, appendix F.2):

(1) average <- d average + (1 - d) new
(2) d = (1/2)^(B / min(half_life, ramp * seen)), with B images a step and ``seen`` images so far, this step included

After the ramp, the weight of what was learned ``half_life`` images ago is one half, whatever the batch size.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from gen_jax.protocol import Tree


@dataclass(frozen=True)
class Average:
    """How the averages of parameters and buffers follow them."""

    half_life: float = 20_000.0
    """Half-life of the average, in images; 0 keeps the last weights instead of an average."""
    ramp: float = 0.05
    """The half-life is at most this share of the images seen so far, so that early weights are forgotten."""

    def decay(self, batch_size: int, step: jax.Array) -> jax.Array:
        """``d`` of (2) for the update that ends ``step`` (counted from 0), float32."""
        seen = (step + 1).astype(jnp.float32) * batch_size
        half_life = jnp.minimum(self.half_life, self.ramp * seen)
        return jnp.where(half_life > 0, 0.5 ** (batch_size / jnp.maximum(half_life, 1e-12)), 0.0)


def update(average: Tree, new: Tree, decay: jax.Array) -> Tree:
    """(1) on every floating leaf; other leaves (counts) are copied."""

    def follow(a: jax.Array, b: jax.Array) -> jax.Array:
        if not jnp.issubdtype(b.dtype, jnp.floating):
            return b
        return (b + decay * (a - b)).astype(b.dtype)

    return jax.tree.map(follow, average, new)
