"""Generators and critic of 5x5 kernels: WGAN-GP's on digits and on small colour images.

Gulrajani et al. 2017, "Improved training of Wasserstein GANs" (arXiv:1704.00028), by its code. Sides are halved, and
rounded up, until they are 4 or less (28 -> 14 -> 7 -> 4), and w is the width at the first of these levels:

    generator   a dense layer to the last level; from each level to the one before it a transposed
                convolution, half as wide, cropped to its size; rectifiers between, tanh at the end       (1)
    critic      from each level to the next a convolution, twice as wide, leaky rectifiers of 0.2;
                then a dense head                                                                         (2)

For digits nothing is normalised; for colour the generator normalises by batches before its rectifiers, its dense layer
each unit. The critic never does: a penalty on an example's gradient has no meaning where examples see each other.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import one_hot

from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.embed import appended
from gen_jax.nn.fit import Size

_LEAK = 0.2
_WEIGHTS = nnx.initializers.he_uniform()
_HEAD = nnx.initializers.glorot_uniform()


def levels(size: Size) -> list[Size]:
    """Height and width at every level, the images' first; two or more."""
    found = [size]
    while len(found) < 2 or max(found[-1]) > 4:
        found.append((-(-found[-1][0] // 2), -(-found[-1][1] // 2)))
    return found


class Unnormalised(nnx.Module):
    """In the place of a normalisation, nothing."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        pass

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """``x``."""
        return x


class Generator(nnx.Module):
    """(1): latents ``z [B, latent]`` to images ``[B, H, W, channels]`` in (-1, 1).

    Args:
      size: height and width of the images.
      channels: of the images.
      latent: width of ``z``.
      width: of the last hidden layer; each one before it is twice as wide.
      norm: makes what is before each rectifier, of ``width`` channels, called ``norm(x, train=...)``.
      classes: 0 for a generator without labels; otherwise ``label [B]`` is appended to ``z`` as a one-hot vector.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        latent: int,
        width: int,
        norm: Callable[..., nnx.Module] = Unnormalised,
        classes: int = 0,
        rngs: nnx.Rngs,
    ):
        self.sizes, self.classes = levels(size)[::-1], classes
        widths = [width * 2**i for i in reversed(range(len(self.sizes) - 1))]
        units = self.sizes[0][0] * self.sizes[0][1] * widths[0]
        self.project = nnx.Linear(latent + classes, units, kernel_init=_WEIGHTS, rngs=rngs)
        hidden = [ConvTranspose(a, b, 5, kernel_init=_WEIGHTS, rngs=rngs) for a, b in itertools.pairwise(widths)]
        self.convolutions = nnx.List([*hidden, ConvTranspose(width, channels, 5, kernel_init=_HEAD, rngs=rngs)])
        self.norms = nnx.List(norm(each, rngs=rngs) for each in [units, *widths[1:]])

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h = self.project(appended(z, None if label is None else one_hot(label, self.classes)))
        for before, after, norm, up in zip(self.sizes, self.sizes[1:], self.norms, self.convolutions):
            h = jax.nn.relu(norm(h, train=train)).reshape(len(z), *before, -1)
            h = up(h)[:, : after[0], : after[1]]
        return jnp.tanh(h)


class Critic(nnx.Module):
    """(2): images ``[B, H, W, channels]`` to logits ``[B]``; arguments as those of :class:`Generator`.

    With classes, planes that are 1 for the label's and 0 for others are appended to the image.
    """

    def __init__(self, size: Size, channels: int, *, width: int, classes: int = 0, rngs: nnx.Rngs):
        sizes, self.classes = levels(size), classes
        widths = [channels + classes, *(width * 2**i for i in range(len(sizes) - 1))]
        self.convolutions = nnx.List(
            Conv(a, b, 5, stride=2, kernel_init=_WEIGHTS, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.head = nnx.Linear(sizes[-1][0] * sizes[-1][1] * widths[-1], 1, kernel_init=_HEAD, rngs=rngs)

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        if self.classes:
            planes = one_hot(label, self.classes)[:, None, None]
            x = appended(x, jnp.broadcast_to(planes, (*x.shape[:3], self.classes)))
        for convolution in self.convolutions:
            x = jax.nn.leaky_relu(convolution(x), _LEAK)
        return self.head(x.reshape(len(x), -1))[:, 0]
