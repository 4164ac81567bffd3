"""Generator and critic of the first GAN, for examples of any shape.

Goodfellow et al. 2014 (arXiv:1406.2661), with the weights and the dropout of its code; maxout: Goodfellow et al. 2013
(arXiv:1302.4389). Of P affine maps of its input, a maxout layer gives the largest of each unit:

    h_i = max over p of (W_p x + b_p)_i                                                                   (1)

The paper's pixels lie in [0, 1]: a generator with a limit L ends in L (2 sigmoid(h) - 1), and its critic begins by
taking [-L, L] back to [0, 1]. Dropout in the critic is there whenever a player trains, in the generator's turns, too.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.layers import dropped
from gen_jax.nn.mlp import MLP


def within(spread: float) -> nnx.Initializer:
    """Weights ~ U[-spread, spread]."""

    def draw(key: jax.Array, shape: Sequence[int], dtype: jax.typing.DTypeLike = jnp.float32, **_: object) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -spread, spread)

    return draw


class Maxout(nnx.Module):
    """(1): ``[B, inputs] -> [B, units]``."""

    def __init__(self, inputs: int, units: int, pieces: int, *, kernel_init: nnx.Initializer, rngs: nnx.Rngs):
        self.pieces = pieces
        self.maps = nnx.Linear(inputs, units * pieces, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        return self.maps(x).reshape(len(x), -1, self.pieces).max(axis=-1)


class Generator(nnx.Module):
    """Latents ``z [B, latent]`` to examples ``[B, *shape]`` by rectifiers.

    Args:
      shape: of an example.
      latent: width of ``z``.
      hidden: widths of the hidden layers.
      limit: of what comes out; infinite for any real numbers.
    """

    def __init__(
        self, shape: Sequence[int], *, latent: int, hidden: Sequence[int], limit: float = math.inf, rngs: nnx.Rngs
    ):
        self.shape, self.limit = tuple(shape), limit
        self.body = MLP(latent, hidden, math.prod(shape), kernel_init=within(0.05), rngs=rngs)

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        return scaled(self.body(z), self.limit).reshape(len(z), *self.shape)


class Critic(nnx.Module):
    """Examples ``[B, *shape]`` to logits ``[B]`` by maxout layers.

    Args:
      shape: of an example.
      hidden: units of the maxout layers.
      pieces: affine maps of each.
      limit: of the examples.
      input_dropout: share of the input dropped in training.
      dropout: share of each hidden layer dropped in training.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        hidden: Sequence[int],
        pieces: int,
        limit: float = math.inf,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ):
        self.limit, self.shares = limit, (input_dropout, *[dropout] * len(hidden))
        widths, weights = [math.prod(shape), *hidden], within(0.005)
        self.layers = nnx.List(
            Maxout(a, b, pieces, kernel_init=weights, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.head = nnx.Linear(widths[-1], 1, kernel_init=weights, rngs=rngs)

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        keys = jax.random.split(key, len(self.shares)) if train and key is not None else [None] * len(self.shares)
        h = dropped(to_shares(x, self.limit), self.shares[0], keys[0])
        for layer, share, own in zip(self.layers, self.shares[1:], keys[1:]):
            h = dropped(layer(h), share, own)
        return self.head(h)[:, 0]


def scaled(h: jax.Array, limit: float) -> jax.Array:
    """What a generator ends in: sigmoids over [-limit, limit], or ``h`` itself where there is no limit."""
    return h if math.isinf(limit) else limit * (2 * jax.nn.sigmoid(h) - 1)


def to_shares(x: jax.Array, limit: float) -> jax.Array:
    """What a critic begins with: ``x [B, ...]`` as ``[B, N]``, of [-limit, limit] as of [0, 1]."""
    x = x.reshape(len(x), -1)
    return x if math.isinf(limit) else (x / limit + 1) / 2
