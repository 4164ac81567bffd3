"""Generator and critic of multilayer perceptrons, for examples of any shape.

As in Goodfellow et al. 2014 (arXiv:1406.2661) but for the activations, which are leaky rectifiers in both where no
other is asked for. A label is appended to the input as a one-hot vector.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.embed import appended
from gen_jax.nn.layers import WEIGHTS
from gen_jax.nn.mlp import MLP

_LEAK = 0.2


def _leaky(x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, _LEAK)


class DenseGenerator(nnx.Module):
    """Latents ``z [B, latent]``, with classes and ``label [B]``, to examples ``[B, *shape]`` in [-limit, limit].

    Args:
      shape: of an example.
      latent: width of ``z``.
      hidden: widths of the hidden layers.
      limit: of what comes out, by tanh; infinite for any real numbers.
      classes: 0 for a generator without labels.
      activation: of the hidden layers.
      kernel_init: of all weights.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int,
        hidden: Sequence[int],
        limit: float = math.inf,
        classes: int = 0,
        activation: Callable[[jax.Array], jax.Array] = _leaky,
        kernel_init: nnx.Initializer = WEIGHTS,
        rngs: nnx.Rngs,
    ):
        self.shape, self.limit, self.classes = tuple(shape), limit, classes
        inputs, outputs = latent + classes, math.prod(shape)
        self.body = MLP(inputs, hidden, outputs, activation=activation, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self,
        z: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class."""
        x = self.body(_with_label(z, label, self.classes)).reshape(len(z), *self.shape)
        return x if math.isinf(self.limit) else self.limit * jnp.tanh(x)


class DenseCritic(nnx.Module):
    """Examples ``[B, *shape]`` to logits ``[B]``; its arguments are those of :class:`DenseGenerator`."""

    def __init__(
        self,
        shape: Sequence[int],
        *,
        hidden: Sequence[int],
        classes: int = 0,
        activation: Callable[[jax.Array], jax.Array] = _leaky,
        kernel_init: nnx.Initializer = WEIGHTS,
        rngs: nnx.Rngs,
    ):
        self.classes = classes
        inputs = math.prod(shape) + classes
        self.body = MLP(inputs, hidden, 1, activation=activation, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """See the class."""
        return self.body(_with_label(x.reshape(len(x), -1), label, self.classes))[:, 0]


def _with_label(x: jax.Array, label: jax.Array | None, classes: int) -> jax.Array:
    return appended(x, None if label is None else jax.nn.one_hot(label, classes))
