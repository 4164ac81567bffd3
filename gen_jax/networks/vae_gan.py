"""The networks of VAE-GAN, by its code.

Larsen et al. 2016 (arXiv:1512.09300). All convolutions have 5x5 kernels; what is normalised is so by its batch, without
a bias before it, and followed by a rectifier:

    encoder   a convolution of stride 2 for each width, a dense layer; mean and log-variance                      (1)
    decoder   a dense layer to the smallest side, transposed convolutions of stride 2; a convolution, tanh       (2)
    critic    a convolution and a rectifier, convolutions of stride 2, a dense layer; one logit. Its features are
              what its last convolution makes, before it is normalised                                            (3)

For 64x64 colour: 18,071,360, 4,693,155 and 10,953,857 parameters.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.batch_norm import ClassBatchNorm
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.fit import Size

_INIT = nnx.initializers.he_normal()


class Encoder(nnx.Module):
    """(1): ``[B, H, W, channels] -> [B, 2 latent]``, sides divisible by 2 for every width."""

    def __init__(self, size: Size, channels: int, *, latent: int, widths: Sequence[int], dense: int, rngs: nnx.Rngs):
        self.convolutions = _halving([channels, *widths], rngs)
        self.norms = _norms([*widths, dense], rngs)
        self.dense = nnx.Linear(_pixels(size, len(widths)) * widths[-1], dense, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(dense, 2 * latent, rngs=rngs)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        for convolution, norm in zip(self.convolutions, self.norms):
            x = jax.nn.relu(norm(convolution(x), train=train))
        h = self.dense(x.reshape(len(x), -1))
        return self.head(jax.nn.relu(self.norms[len(self.convolutions)](h, train=train)))


class Decoder(nnx.Module):
    """(2): ``z [B, latent] -> [B, H, W, channels]`` in (-1, 1).

    The first of ``widths`` is that behind its dense layer and, once more, of the first convolution.
    """

    def __init__(self, size: Size, channels: int, *, latent: int, widths: Sequence[int], rngs: nnx.Rngs):
        self.start = (size[0] >> len(widths), size[1] >> len(widths))
        units = self.start[0] * self.start[1] * widths[0]
        self.dense = nnx.Linear(latent, units, use_bias=False, rngs=rngs)
        self.convolutions = nnx.List(
            ConvTranspose(a, b, 5, use_bias=False, kernel_init=_INIT, rngs=rngs)
            for a, b in itertools.pairwise([widths[0], *widths])
        )
        self.norms = _norms([units, *widths], rngs)
        self.head = Conv(widths[-1], channels, 5, rngs=rngs)

    def __call__(self, z: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        h = jax.nn.relu(self.norms[0](self.dense(z), train=train)).reshape(len(z), *self.start, -1)
        for convolution, norm in zip(self.convolutions, self.norms[1:]):
            h = convolution(h)[:, :-1, :-1]  # sides 2 n + 1, of which 2 n are wanted
            h = jax.nn.relu(norm(h, train=train))
        return jnp.tanh(self.head(h))


class Critic(nnx.Module):
    """(3): ``x [B, H, W, channels]`` to logits ``[B]`` and features ``[B, F]``.

    The first of ``widths`` is of the convolution without a stride.
    """

    def __init__(self, size: Size, channels: int, *, widths: Sequence[int], dense: int, rngs: nnx.Rngs):
        self.stem = Conv(channels, widths[0], 5, kernel_init=_INIT, rngs=rngs)
        self.convolutions = _halving(widths, rngs)
        self.norms = _norms([*widths[1:], dense], rngs)
        self.dense = nnx.Linear(_pixels(size, len(widths) - 1) * widths[-1], dense, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(dense, 1, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """See the class."""
        h = jax.nn.relu(self.stem(x))
        features = h
        for convolution, norm in zip(self.convolutions, self.norms):
            features = convolution(h)
            h = jax.nn.relu(norm(features, train=train))
        h = self.dense(h.reshape(len(x), -1))
        h = jax.nn.relu(self.norms[len(self.convolutions)](h, train=train))
        return self.head(h)[:, 0], features.reshape(len(x), -1)


def _halving(widths: Sequence[int], rngs: nnx.Rngs) -> nnx.List:
    return nnx.List(
        Conv(a, b, 5, stride=2, use_bias=False, kernel_init=_INIT, rngs=rngs) for a, b in itertools.pairwise(widths)
    )


def _norms(widths: Sequence[int], rngs: nnx.Rngs) -> nnx.List:
    return nnx.List(ClassBatchNorm(width, rngs=rngs) for width in widths)


def _pixels(size: Size, halvings: int) -> int:
    return (size[0] >> halvings) * (size[1] >> halvings)
