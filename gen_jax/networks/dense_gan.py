"""Generator and critic of multilayer perceptrons, for examples of any shape.

As in Goodfellow et al. 2014 (arXiv:1406.2661) but for the activations, which are leaky rectifiers in both. A label is
appended to the input as a one-hot vector.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.embed import appended
from gen_jax.nn.mlp import MLP

_LEAK = 0.2


class DenseGenerator(nnx.Module):
    """Latents ``z [B, latent]``, with classes and ``label [B]``, to examples ``[B, *shape]`` in [-limit, limit].

    Args:
      shape: of an example.
      latent: width of ``z``.
      hidden: widths of the hidden layers.
      limit: of what comes out, by tanh; infinite for any real numbers.
      classes: 0 for a generator without labels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int,
        hidden: Sequence[int],
        limit: float = math.inf,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.shape, self.limit, self.classes = tuple(shape), limit, classes
        self.body = MLP(latent + classes, hidden, math.prod(shape), activation=_leaky, rngs=rngs)

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

    def __init__(self, shape: Sequence[int], *, hidden: Sequence[int], classes: int = 0, rngs: nnx.Rngs):
        self.classes = classes
        self.body = MLP(math.prod(shape) + classes, hidden, 1, activation=_leaky, rngs=rngs)

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


def _leaky(x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, _LEAK)


def _with_label(x: jax.Array, label: jax.Array | None, classes: int) -> jax.Array:
    return appended(x, None if label is None else jax.nn.one_hot(label, classes))
