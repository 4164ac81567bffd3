"""Deep convolutional generator and critic: strided convolutions, batch normalisation, dense only at the ends.

Radford, Metz and Chintala 2015, arXiv 1511.06434, in the widespread form with 4x4 kernels, which tile a
stride of two evenly and so leave no checkerboard. Sides are halved twice, and again while both are even and at
least 8:

    side    64 -> 4   32 -> 4   28 -> 7   16 -> 4   12 -> 3   8 -> 2
    halved       4x        3x        2x        2x        2x       2x                                      (1)

The generator starts there with ``base * 2^(halvings - 1)`` channels and halves them at every doubling; the
critic is its mirror. All convolutions are without biases. Weights start as N(0, 0.02^2), BatchNorm scales as
N(1, 0.02^2).
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.embed import appended, class_table
from gen_jax.nn.fit import Size
from gen_jax.nn.ladder import is_halved

MULTIPLE = 4
"""What sides are divisible by."""

_WEIGHTS = nnx.initializers.normal(0.02)
_LEAK = 0.2


def plan(size: Size) -> tuple[Size, int]:
    """The smallest height and width of (1), and how often those of ``size`` are halved to reach them."""
    height, width, halvings = size[0] // 4, size[1] // 4, 2
    while is_halved((height, width)):
        height, width, halvings = height // 2, width // 2, halvings + 1
    return (height, width), halvings


class Generator(nnx.Module):
    """Latents ``z [B, latent]``, with classes and ``label [B]``, to images ``[B, H, W, channels]``.

    Args:
      size: height and width of the images, each divisible by 4.
      channels: of the images.
      latent: width of ``z``.
      base: width of the last hidden layer; each one before it is twice as wide.
      classes: 0 for a generator without labels.
      label_width: of the label's embedding, which is appended to ``z``.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        latent: int,
        base: int,
        classes: int = 0,
        label_width: int = 32,
        rngs: nnx.Rngs,
    ):
        self.start, doublings = plan(size)
        self.embedding = class_table(classes, label_width, rngs)
        widths = [base * 2**i for i in reversed(range(doublings))]
        # What a transposed convolution of a 1x1 input is: one matrix product.
        self.project = _head(latent + (label_width if classes else 0), self.start[0] * self.start[1] * widths[0], rngs)
        self.norms = nnx.List(_BatchNorm(width, rngs=rngs) for width in widths)
        self.convolutions = nnx.List(
            ConvTranspose(a, b, use_bias=False, kernel_init=_WEIGHTS, rngs=rngs)
            for a, b in zip(widths, [*widths[1:], channels], strict=True)
        )

    def __call__(
        self,
        z: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Images in (-1, 1); ``train`` normalises by the batch, otherwise by running statistics."""
        if self.embedding is not None and label is not None:
            z = appended(z, self.embedding(label))
        h = self.project(z).reshape(z.shape[0], *self.start, -1)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            h = convolution(jax.nn.relu(norm(h, train=train)))
        return jnp.tanh(h)


class Critic(nnx.Module):
    """Images to logits ``[B]``; its arguments are those of :class:`Generator`.

    With classes, a learned plane per class is appended to the image as one more channel.
    """

    def __init__(self, size: Size, channels: int, *, base: int, classes: int = 0, rngs: nnx.Rngs):
        end, halvings = plan(size)
        self.size = size
        self.embedding = class_table(classes, size[0] * size[1], rngs)
        widths = [channels + (classes > 0), *(base * 2**i for i in range(halvings))]
        self.convolutions = nnx.List(
            Conv(a, b, 4, stride=2, padding=1, use_bias=False, kernel_init=_WEIGHTS, rngs=rngs)
            for a, b in itertools.pairwise(widths)
        )
        self.norms = nnx.List(_BatchNorm(width, rngs=rngs) for width in widths[2:])
        self.head = _head(end[0] * end[1] * widths[-1], 1, rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """``x [B, H, W, channels]`` to logits ``[B]``."""
        return self.head(self._layers(x, label, train)[-1].reshape(x.shape[0], -1))[:, 0]

    def features(
        self,
        x: jax.Array,
        label: jax.Array | None = None,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """All layers, each with the largest of as many positions as make it as small as the last one: ``[B, F]``."""
        layers = self._layers(x, label, train)
        rows, columns = layers[-1].shape[1:3]
        blocks = [h.reshape(len(h), rows, h.shape[1] // rows, columns, -1, h.shape[3]) for h in layers]
        return jnp.concatenate([block.max(axis=(2, 4)).reshape(len(x), -1) for block in blocks], axis=1)

    def _layers(self, x: jax.Array, label: jax.Array | None, train: bool) -> list[jax.Array]:
        if self.embedding is not None and label is not None:
            x = appended(x, self.embedding(label).reshape(-1, *self.size, 1))
        layers = [jax.nn.leaky_relu(self.convolutions[0](x), _LEAK)]  # no normalisation at the input, as in the paper
        for norm, convolution in zip(self.norms, self.convolutions[1:], strict=True):
            layers.append(jax.nn.leaky_relu(norm(convolution(layers[-1]), train=train), _LEAK))
        return layers


class _BatchNorm(nnx.Module):
    """Running averages keep 0.9 of themselves per batch."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        def scale_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
            return 1 + 0.02 * jax.random.normal(key, shape, dtype)

        self.norm = nnx.BatchNorm(width, momentum=0.9, epsilon=1e-5, scale_init=scale_init, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        # The statistics are float32 in any case; what follows must have the type of the weights again.
        return self.norm(x, use_running_average=not train).astype(x.dtype)


def _head(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, use_bias=False, kernel_init=_WEIGHTS, rngs=rngs)
