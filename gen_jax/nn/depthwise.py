"""Convolutions of every channel by itself, and what weighs channels by their means.

Chollet 2017, "Xception" (arXiv:1610.02357); Hu, Shen and Sun 2018, "Squeeze-and-excitation networks"
(arXiv:1709.01507).

    y[u, c] = sum_h x[u + h, c] kernel[h, c]                                                              (1)
    y = x * sigmoid(W relu(V mean of x over the pixels))                                                  (2)

(1) is written as a sum over shifted images, with zeros around them: XLA has no fast grouped convolution on a CPU. Its
gradient in x is (1) of the gradient by the kernel turned around, and is written so.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx


def _shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    around = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    places = [(i, j) for i in range(size) for j in range(size)]
    return sum(padded[:, i : i + height, j : j + width] * kernel[i, j] for i, j in places[1:]) + (
        padded[:, :height, :width] * kernel[0, 0]
    )


@jax.custom_vjp
def depthwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(1) of ``x [B, H, W, C]`` and ``kernel [k, k, C]`` with k odd."""
    return _shifted(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _shifted(x, kernel), (x, kernel)


def _backward(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    around = (size - 1) // 2, size // 2
    padded = jnp.pad(x, ((0, 0), around, around, (0, 0)))
    of_kernel = jnp.stack(
        [
            jnp.stack([(padded[:, i : i + height, j : j + width] * dy).sum((0, 1, 2)) for j in range(size)])
            for i in range(size)
        ]
    )
    return _shifted(dy, kernel[::-1, ::-1]), of_kernel


depthwise.defvjp(_forward, _backward)


class DepthwiseConv(nnx.Module):
    """(1) with an odd square kernel and a bias: ``[B, H, W, width] -> [B, H, W, width]``."""

    def __init__(self, width: int, kernel: int = 5, *, rngs: nnx.Rngs):
        init = nnx.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=())
        self.kernel = nnx.Param(init(rngs.params(), (kernel, kernel, width), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        return depthwise(x, self.kernel[...]) + self.bias[...]


class SqueezeExcite(nnx.Module):
    """(2) through a sixteenth of the channels, four at least."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        dense = partial(nnx.Linear, rngs=rngs)
        narrow = max(width // 16, 4)
        self.squeeze, self.excite = dense(width, narrow), dense(narrow, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, width] -> [B, H, W, width]``."""
        share = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(x.mean(axis=(1, 2))))))
        return x * share[:, None, None]
