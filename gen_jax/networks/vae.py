"""Encoders and decoders of variational autoencoders.

The convolutional pair follows the layout that Burgess et al. 2018 (arXiv:1804.03599) used for beta-VAE: stride-2
convolutions with 4x4 kernels, two dense layers of 256, and the mirror image; 502,005 parameters for 64x64 grey images
and ten latents. The perceptrons are those of Burda et al. 2016 (arXiv:1509.00519), 425,284 parameters.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.embed import appended
from gen_jax.nn.fit import Size
from gen_jax.nn.mlp import MLP


class ConvEncoder(nnx.Module):
    """``[B, H, W, C] (and a one-hot label [B, K]) -> [B, outputs]``; H and W divisible by 2 for every width."""

    def __init__(
        self,
        size: Size,
        channels: int,
        outputs: int,
        *,
        widths: Sequence[int],
        dense: Sequence[int],
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.convs = nnx.List(
            Conv(a, b, 4, stride=2, padding=1, kernel_init=nnx.initializers.he_uniform(), rngs=rngs)
            for a, b in zip([channels, *widths[:-1]], widths)
        )
        pixels = (size[0] >> len(widths)) * (size[1] >> len(widths))
        self.head = MLP(pixels * widths[-1] + classes, dense, outputs, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``[B, H, W, C] -> [B, outputs]``."""
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return self.head(appended(x.reshape(x.shape[0], -1), label))


class ConvDecoder(nnx.Module):
    """``[B, latent] (and a one-hot label [B, K]) -> [B, H, W, outputs]``; H and W as in :class:`ConvEncoder`."""

    def __init__(
        self,
        size: Size,
        outputs: int,
        *,
        latent: int,
        widths: Sequence[int],
        dense: Sequence[int],
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.start = (size[0] >> len(widths), size[1] >> len(widths))
        self.body = MLP(latent + classes, [*dense], self.start[0] * self.start[1] * widths[-1], rngs=rngs)
        reversed_widths = list(widths[::-1])
        self.convs = nnx.List(
            ConvTranspose(a, b, 4, stride=2, padding=1, kernel_init=nnx.initializers.he_uniform(), rngs=rngs)
            for a, b in zip(reversed_widths, [*reversed_widths[1:], outputs])
        )

    def __call__(
        self,
        z: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``[B, latent] -> [B, H, W, outputs]``."""
        x = jax.nn.relu(self.body(appended(z, label))).reshape(z.shape[0], *self.start, -1)
        for conv in self.convs[:-1]:
            x = jax.nn.relu(conv(x))
        return self.convs[-1](x)


class DenseEncoder(nnx.Module):
    """``[B, *shape] (and a one-hot label [B, K]) -> [B, outputs]``, through hidden layers of tanh."""

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        hidden: Sequence[int],
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.body = MLP(math.prod(shape) + classes, hidden, outputs, activation=activation, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``[B, *shape] -> [B, outputs]``."""
        return self.body(appended(x.reshape(x.shape[0], -1), label))


class DenseDecoder(nnx.Module):
    """``[B, latent] (and a one-hot label [B, K]) -> [B, *shape]`` with ``outputs`` in place of the last axis."""

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        *,
        latent: int,
        hidden: Sequence[int],
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.shape = (*shape[:-1], outputs)
        self.body = MLP(latent + classes, hidden, math.prod(self.shape), activation=activation, rngs=rngs)

    def __call__(
        self,
        z: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``[B, latent] -> [B, ..., outputs]``."""
        return self.body(appended(z, label)).reshape(z.shape[0], *self.shape)


def class_moments(*, classes: int, latent: int, rngs: nnx.Rngs) -> MLP:
    """A mean and a log-variance of every class, ``one-hot [B, classes] -> [B, 2 latent]``; all begin at 0."""
    return MLP(classes, (), 2 * latent, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)


class Reminded(nnx.Module):
    """``[B, inputs] -> [B, outputs]``, through hidden layers of ReLU; the last layer sees the input beside them."""

    def __init__(self, inputs: int, outputs: int, *, hidden: Sequence[int], rngs: nnx.Rngs):
        widths = [inputs, *hidden]
        self.layers = nnx.List(nnx.Linear(a, b, rngs=rngs) for a, b in zip(widths, hidden))
        self.head = nnx.Linear(widths[-1] + inputs, outputs, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``[B, inputs] -> [B, outputs]``."""
        h = x
        for layer in self.layers:
            h = jax.nn.relu(layer(h))
        return self.head(appended(h, x))
