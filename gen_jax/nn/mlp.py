"""Multilayer perceptrons over flat vectors."""

import itertools
from collections.abc import Callable, Sequence

import jax
from flax import nnx


class MLP(nnx.Module):
    """Dense layers with an activation between them, none after the last; with no hidden widths, an affine map.

    Args:
      inputs: width of the input, the product of its axes but the first.
      hidden: widths of the hidden layers.
      outputs: width of the output.
      activation: applied after every hidden layer.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        kernel_init: nnx.Initializer = nnx.initializers.glorot_uniform(),
        rngs: nnx.Rngs,
    ):
        widths = [inputs, *hidden, outputs]
        self.activation = activation
        self.layers = nnx.List(
            nnx.Linear(a, b, kernel_init=kernel_init, rngs=rngs) for a, b in itertools.pairwise(widths)
        )

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """``[B, ...] -> [B, outputs]``."""
        x = x.reshape(x.shape[0], -1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
