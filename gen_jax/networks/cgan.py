"""Generator and critic that are told a label, each through a layer of the label's own, for examples of any shape.

Mirza and Osindero 2014 (arXiv:1411.1784). With y the label as a one-hot vector, r rectifiers and m maxout layers,

    generator  r(W [r(V u), r(U y)])        u = Phi(z), uniform over the unit cube for z ~ N(0, I)        (1)
    critic     w' m([m(x), m(y)])                                                                         (2)

with dropout in the hidden layers of both. Ranges and weights are those of :mod:`gen_jax.networks.maxout_gan`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import one_hot, relu
from jax.scipy.special import ndtr

from gen_jax.networks.maxout_gan import Maxout, scaled, to_shares, within
from gen_jax.nn.layers import dropped


class Generator(nnx.Module):
    """(1): latents ``z [B, latent]`` and ``label [B]`` to examples ``[B, *shape]``.

    Args:
      shape: of an example.
      classes: of the labels.
      latent: width of ``z``.
      latent_width: of the layer of ``z``.
      label_width: of the layer of the label.
      width: of the layer of both.
      limit: of what comes out; infinite for any real numbers.
      dropout: share of each hidden layer dropped in training.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        classes: int,
        latent: int,
        latent_width: int,
        label_width: int,
        width: int,
        limit: float = math.inf,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ):
        self.shape, self.classes, self.limit, self.dropout = tuple(shape), classes, limit, dropout
        weights = within(0.05)
        self.of_latent = nnx.Linear(latent, latent_width, kernel_init=weights, rngs=rngs)
        self.of_label = nnx.Linear(classes, label_width, kernel_init=weights, rngs=rngs)
        self.of_both = nnx.Linear(latent_width + label_width, width, kernel_init=weights, rngs=rngs)
        self.head = nnx.Linear(width, math.prod(shape), kernel_init=weights, rngs=rngs)

    def __call__(
        self, z: jax.Array, label: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        keys = _two(key, train)
        told = relu(self.of_label(one_hot(label, self.classes, dtype=z.dtype)))
        h = jnp.concatenate([relu(self.of_latent(ndtr(z))), told], axis=-1)
        h = relu(self.of_both(dropped(h, self.dropout, keys[0])))
        return scaled(self.head(dropped(h, self.dropout, keys[1])), self.limit).reshape(len(z), *self.shape)


class Critic(nnx.Module):
    """(2): examples ``[B, *shape]`` and ``label [B]`` to logits ``[B]``.

    Args:
      shape: of an example.
      classes: of the labels.
      units: of the maxout layers of the example, of the label and of both.
      pieces: affine maps of each.
      limit: of the examples.
      dropout: share of each hidden layer dropped in training.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        classes: int,
        units: tuple[int, int, int],
        pieces: tuple[int, int, int],
        limit: float = math.inf,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ):
        self.classes, self.limit, self.dropout = classes, limit, dropout
        inputs = (math.prod(shape), classes, units[0] + units[1])
        weights = within(0.005)
        self.layers = nnx.List(Maxout(*each, kernel_init=weights, rngs=rngs) for each in zip(inputs, units, pieces))
        self.head = nnx.Linear(units[2], 1, kernel_init=weights, rngs=rngs)

    def __call__(
        self, x: jax.Array, label: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        keys = _two(key, train)
        of_example, of_label, of_both = self.layers
        told = of_label(one_hot(label, self.classes, dtype=x.dtype))
        h = jnp.concatenate([of_example(to_shares(x, self.limit)), told], axis=-1)
        h = of_both(dropped(h, self.dropout, keys[0]))
        return self.head(dropped(h, self.dropout, keys[1]))[:, 0]


def _two(key: jax.Array | None, train: bool) -> jax.Array | list[None]:
    return jax.random.split(key) if train and key is not None else [None, None]
