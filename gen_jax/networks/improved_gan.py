"""Generator, critic and classifier with the techniques of Salimans et al. 2016 (arXiv:1606.03498), as perceptrons.

The generator normalises by :class:`~gen_jax.nn.minibatch.VirtualBatchNorm` against latents that are drawn once, kept
with its buffers and passed along; the critic's last layer sees how near its examples are to each other. The classifier
adds noise to its input and hidden layers in training, and its weights are normalised (Salimans and Kingma 2016,
arXiv:1602.07868): y = g x V / ||V|| + b, with a norm for each output.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import relu

from gen_jax.networks.maxout_gan import to_shares
from gen_jax.nn.layers import WEIGHTS
from gen_jax.nn.minibatch import MinibatchDiscrimination, VirtualBatchNorm
from gen_jax.nn.mlp import MLP


class Generator(nnx.Module):
    """Latents ``z [B, latent]`` to examples ``[B, *shape]`` in [-limit, limit].

    Args:
      shape: of an example.
      latent: width of ``z``.
      hidden: widths of the hidden layers, each normalised.
      references: latents that it is normalised against.
      limit: of what comes out, by tanh; infinite for any real numbers.
      activation: of the hidden layers.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int,
        hidden: Sequence[int],
        references: int,
        limit: float = math.inf,
        activation: Callable[[jax.Array], jax.Array] = relu,
        rngs: nnx.Rngs,
    ):
        self.shape, self.limit, self.activation = tuple(shape), limit, activation
        self.reference = nnx.BatchStat(jax.random.normal(rngs.params(), (references, latent)))
        widths = [latent, *hidden]
        dense = functools.partial(nnx.Linear, use_bias=False, kernel_init=WEIGHTS, rngs=rngs)  # norms subtract any bias
        self.layers = nnx.List(dense(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nnx.List(VirtualBatchNorm(width, rngs=rngs) for width in hidden)
        self.head = nnx.Linear(widths[-1], math.prod(shape), kernel_init=WEIGHTS, rngs=rngs)

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h, reference = z, self.reference[...].astype(z.dtype)
        for layer, norm in zip(self.layers, self.norms):
            h, reference = map(self.activation, norm(layer(h), layer(reference)))
        x = self.head(h).reshape(len(z), *self.shape)
        return x if math.isinf(self.limit) else self.limit * jnp.tanh(x)


class Critic(nnx.Module):
    """Examples ``[B, *shape]`` to logits ``[B]``, which depend on the whole batch.

    Args:
      shape: of an example.
      hidden: widths of the hidden layers; the last are its features.
      kernels: rows that minibatch discrimination makes of the features.
      kernel_width: numbers of each.
    """

    def __init__(self, shape: Sequence[int], *, hidden: Sequence[int], kernels: int, kernel_width: int, rngs: nnx.Rngs):
        self.body = MLP(math.prod(shape), hidden[:-1], hidden[-1], activation=_leaky, rngs=rngs)
        self.minibatch = MinibatchDiscrimination(hidden[-1], kernels, kernel_width, rngs=rngs)
        self.head = nnx.Linear(hidden[-1] + kernels, 1, kernel_init=WEIGHTS, rngs=rngs)

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        return self.head(self.minibatch(self.features(x)))[:, 0]

    def features(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """The last hidden layer, ``[B, F]``: of each example alone."""
        return _leaky(self.body(x))


class Classifier(nnx.Module):
    """Examples ``[B, *shape]`` to features ``[B, F]``, its last hidden layer, and logits ``[B, classes]``.

    Args:
      shape: of an example.
      classes: how many.
      hidden: widths of the hidden layers.
      limit: of the examples, which are seen as numbers in [0, 1] where it is finite.
      input_noise: deviation of the noise on these.
      noise: deviation of the noise on each hidden layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        classes: int,
        hidden: Sequence[int],
        limit: float = math.inf,
        input_noise: float = 0.3,
        noise: float = 0.5,
        rngs: nnx.Rngs,
    ):
        widths = [math.prod(shape), *hidden, classes]
        self.limit, self.deviations = limit, (input_noise, *[noise] * len(hidden))
        self.layers = nnx.List(WeightNormalised(a, b, rngs=rngs) for a, b in itertools.pairwise(widths))

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """See the class."""
        keys = jax.random.split(key, len(self.layers)) if train and key is not None else [None] * len(self.layers)
        h = to_shares(x, self.limit)
        for layer, deviation, own in zip(self.layers[:-1], self.deviations, keys):
            h = relu(layer(_noisy(h, deviation, own)))
        return h, self.layers[-1](_noisy(h, self.deviations[-1], keys[-1]))


class WeightNormalised(nnx.Module):
    """``[B, inputs] -> [B, outputs]``: g x V / ||V|| + b, with g starting at 1."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (inputs, outputs)))
        self.scale, self.bias = nnx.Param(jnp.ones((outputs,))), nnx.Param(jnp.zeros((outputs,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        kernel = self.kernel[...]
        return x @ (kernel * (self.scale[...] / jnp.linalg.norm(kernel, axis=0))) + self.bias[...]


def _leaky(x: jax.Array) -> jax.Array:
    return jax.nn.leaky_relu(x, 0.2)


def _noisy(x: jax.Array, deviation: float, key: jax.Array | None) -> jax.Array:
    return x if key is None else x + deviation * jax.random.normal(key, x.shape, x.dtype)
