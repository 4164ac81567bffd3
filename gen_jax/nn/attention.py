"""Self-attention over the pixels of an image.

Vaswani et al. 2017 (arXiv:1706.03762); over images, after group normalisation, Ho, Jain and Abbeel 2020
(arXiv:2006.11239).

    y = gain (x + W_o concat over heads of softmax(q k^T / sqrt c) v),   q, k, v = W norm(x),   c = C / heads  (1)
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.layers import WEIGHTS, ZERO, GroupNorm


class Attention(nnx.Module):
    """(1): ``[B, H, W, width] -> [B, H, W, width]``, the identity times ``gain`` at the start.

    Args:
      width: C, channels.
      heads: which must divide it.
      gain: factor of the sum.
      kernel_init: of queries, keys and values.
      epsilon: of the normalisation.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        gain: float = 1.0,
        kernel_init: nnx.Initializer = WEIGHTS,
        epsilon: float = 1e-6,
        rngs: nnx.Rngs,
    ):
        if width % heads:
            raise ValueError(f"expected heads that divide the width {width}, got {heads}; change either")
        self.heads, self.gain = heads, gain
        self.norm = GroupNorm(width, epsilon=epsilon, rngs=rngs)
        self.query, self.key, self.value = (
            nnx.Linear(width, width, kernel_init=kernel_init, rngs=rngs) for _ in range(3)
        )
        self.output = nnx.Linear(width, width, kernel_init=ZERO, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        batch, height, side, width = x.shape
        h = self.norm(x).reshape(batch, height * side, width)
        y = x + self.output(attend(self.query(h), self.key(h), self.value(h), self.heads)).reshape(x.shape)
        return y if self.gain == 1.0 else y * self.gain


def attend(query: jax.Array, key: jax.Array, value: jax.Array, heads: int) -> jax.Array:
    """Attention of ``[B, T, C]`` to ``[B, S, C]``, its logits and their softmax in float32: ``[B, T, C]``.

    Heads are more of a batch: on a CPU, forth and back, this takes half to three quarters of the time of
    ``jax.nn.dot_product_attention``.
    """
    batch, _, width = query.shape
    c = width // heads

    def split(a: jax.Array) -> jax.Array:
        return a.reshape(batch, -1, heads, c).swapaxes(1, 2).reshape(batch * heads, -1, c)

    logits = jnp.einsum("bqc,bkc->bqk", split(query), split(key), preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits / math.sqrt(c)).astype(value.dtype)
    return (weights @ split(value)).reshape(batch, heads, -1, c).swapaxes(1, 2).reshape(query.shape)
