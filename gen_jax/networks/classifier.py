"""A small convolutional classifier, whose last hidden layer serves as features of images.

Width by width: two 3x3 convolutions with BatchNorm and ReLU, of which the first halves the side, except at
the first width, which has one convolution at full resolution. Then the mean over what is left of the image, a
dense layer with ReLU (the features), and a dense layer to the classes.

BatchNorm and not GroupNorm: in use it is an affine map, so that features keep an image's contrast and
brightness, which a distance between images must see.
"""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx

from gen_jax.nn.conv import Conv

_KERNEL = nnx.initializers.he_normal()


class Classifier(nnx.Module):
    """Logits of images ``[B, H, W, inputs]``, of any size.

    Args:
      inputs: channels of the images.
      widths: channels of the convolutions; the side is halved between one and the next.
      features: width of the last hidden layer.
      classes: number of classes.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int] = (24, 48, 96),
        features: int = 64,
        classes: int = 10,
        *,
        rngs: nnx.Rngs,
    ):
        blocks = [_Block(inputs, widths[0], stride=1, rngs=rngs)]
        for narrow, wide in itertools.pairwise(widths):
            blocks += [_Block(narrow, wide, stride=2, rngs=rngs), _Block(wide, wide, stride=1, rngs=rngs)]
        self.blocks = nnx.List(blocks)
        self.hidden = nnx.Linear(widths[-1], features, kernel_init=_KERNEL, rngs=rngs)
        self.output = nnx.Linear(features, classes, rngs=rngs)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """``[B, H, W, inputs] -> [B, classes]``."""
        return self.features(x, key=key, train=train)[1]

    def features(
        self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """``[B, H, W, inputs] -> [B, features], [B, classes]``: the last hidden layer and the logits."""
        for block in self.blocks:
            x = block(x, train=train)
        features = jax.nn.relu(self.hidden(x.mean((1, 2))))
        return features, self.output(features)

    def layers(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> list[jax.Array]:
        """What the convolutions make of ``[B, H, W, inputs]``, one after the other."""
        found = []
        for block in self.blocks:
            x = block(x, train=train)
            found.append(x)
        return found


class _Block(nnx.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int, rngs: nnx.Rngs):
        self.convolution = Conv(inputs, outputs, 3, stride=stride, use_bias=False, kernel_init=_KERNEL, rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.convolution(x)
        # BatchNorm computes in float32; what follows has the type of the weights again.
        return jax.nn.relu(self.norm(x, use_running_average=not train).astype(x.dtype))
