"""Residual generator and critics of GANs on small images, with and without spectral normalisation.

Gulrajani et al. 2017 (arXiv:1704.00028), with w the width; Miyato et al. 2018 (arXiv:1802.05957), whose generator has
256 channels and whose critic 128; labels: Miyato and Koyama 2018 (arXiv:1802.05637). Norms are of batches, ``up``
repeats pixels, ``down`` is the mean of blocks of four.

    generator   z -> dense to the smallest level, then for each doubling
                x -> conv1(up x) + conv3(relu(norm(conv3(up relu(norm x)))))                              (1)
                and tanh(conv3(relu(norm x)))
    critic      x -> conv1(down x) + down conv3(relu(conv3 x))                                            (2)
                x -> conv1(x) + conv3(relu(conv3(relu x))), with down on both sides while it halves,      (3)
                the same twice with nothing on the side
                and phi = relu x, pooled over positions, d = w' phi                                       (4)
                with classes d = w' phi + <embedding of the label, phi>                                   (5)

Of gradient penalties (4) is a mean, of spectral normalisation a sum, whose head has no bias. (5) is what log p / q is
where the class is a softmax of phi; norms of a generator with classes have a scale and a shift for each, but the last.
Sides are halved by the critic at least twice, and once less than the generator doubles them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import relu

from gen_jax.networks.dcgan import MULTIPLE, plan
from gen_jax.nn.batch_norm import ClassBatchNorm
from gen_jax.nn.conv import Conv, convolve
from gen_jax.nn.fit import Size
from gen_jax.nn.resample import BOX
from gen_jax.nn.spectral import SpectralConv, SpectralEmbed, SpectralLinear

__all__ = ["MULTIPLE", "Critic", "Generator", "SpectralCritic"]

_WIDE = nnx.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # of residual branches, after rectifiers
_PLAIN = nnx.initializers.glorot_uniform()


class Generator(nnx.Module):
    """(1): latents ``z [B, latent]``, with classes and ``label [B]``, to images ``[B, H, W, channels]`` in (-1, 1).

    Args:
      size: height and width of the images, each divisible by 4.
      channels: of the images.
      latent: width of ``z``.
      width: of all hidden layers.
      classes: 0 for a generator without labels.
    """

    def __init__(self, size: Size, channels: int, *, latent: int, width: int, classes: int = 0, rngs: nnx.Rngs):
        self.start, doublings = plan(size)
        positions = self.start[0] * self.start[1]
        self.project = nnx.Linear(latent, positions * width, kernel_init=_PLAIN, rngs=rngs)
        self.blocks = nnx.List(_Up(width, classes=classes, rngs=rngs) for _ in range(doublings))
        self.norm = ClassBatchNorm(width, rngs=rngs)
        self.head = Conv(width, channels, kernel_init=_PLAIN, rngs=rngs)

    def __call__(
        self, z: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class; ``train`` normalises by the batch."""
        h = self.project(z).reshape(len(z), *self.start, -1)
        for block in self.blocks:
            h = block(h, label, train=train)
        return jnp.tanh(self.head(relu(self.norm(h, train=train))))


class Critic(nnx.Module):
    """(2) to (5) of plain weights, of ``x [B, H, W, channels]`` and ``label [B]``: logits ``[B]``.

    Args:
      size: height and width of the images, each divisible by 4.
      channels: of the images.
      width: of all hidden layers.
      classes: 0 for a critic without labels.
    """

    def __init__(self, size: Size, channels: int, *, width: int, classes: int = 0, rngs: nnx.Rngs):
        self.body = _Body(size, channels, width, conv=_PlainConv, rngs=rngs)
        self.head = nnx.Linear(width, 1, kernel_init=_PLAIN, rngs=rngs)
        self.embedding = nnx.Embed(classes, width, embedding_init=_PLAIN, rngs=rngs) if classes else None

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        phi = self.body(x, train=train).mean(axis=(1, 2))
        d = self.head(phi)[:, 0]
        return d if self.embedding is None or label is None else d + (self.embedding(label) * phi).sum(axis=-1)


class SpectralCritic(nnx.Module):
    """The same with every weight divided by its largest singular value, and its arguments."""

    def __init__(self, size: Size, channels: int, *, width: int, classes: int = 0, rngs: nnx.Rngs):
        self.body = _Body(size, channels, width, conv=SpectralConv, rngs=rngs)
        self.head = SpectralLinear(width, 1, rngs=rngs)
        self.embedding = SpectralEmbed(classes, width, rngs=rngs) if classes else None

    def __call__(
        self, x: jax.Array, label: jax.Array | None = None, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class; a training pass takes a step of the power method."""
        phi = self.body(x, train=train).sum(axis=(1, 2))
        d = self.head(phi, train=train)[:, 0]
        return (
            d
            if self.embedding is None or label is None
            else d + (self.embedding(label, train=train) * phi).sum(axis=-1)
        )


class _PlainConv(Conv):
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return super().__call__(x)


class _Unbiased(Conv):
    """Of a generator: whatever constant it adds, the norms behind take away, and the gradient of a bias is rounding.
    Its bias is counted in the published sizes, and not added.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        return convolve(x, self.kernel[...], padding=self.padding)


class _Up(nnx.Module):
    """(1)."""

    def __init__(self, width: int, *, classes: int, rngs: nnx.Rngs):
        conv = partial(_Unbiased, width, width, rngs=rngs)
        self.norms = nnx.List(ClassBatchNorm(width, classes=classes, rngs=rngs) for _ in range(2))
        self.convolutions = nnx.List(conv(kernel_init=_WIDE) for _ in range(2))
        self.shortcut = conv(1, kernel_init=_PLAIN)

    def __call__(self, x: jax.Array, label: jax.Array | None, *, train: bool) -> jax.Array:
        h = self.convolutions[0](BOX.up(relu(self.norms[0](x, label, train=train))))
        h = self.convolutions[1](relu(self.norms[1](h, label, train=train)))
        return BOX.up(self.shortcut(x)) + h  # a 1x1 convolution before or behind repeated pixels is the same


class _Body(nnx.Module):
    """(2) and (3), and the last rectifier: ``[B, H, W, channels] -> [B, h, w, width]``."""

    def __init__(self, size: Size, channels: int, width: int, *, conv: Callable[..., Any], rngs: nnx.Rngs):
        halvings = max(plan(size)[1] - 1, 2)
        make = partial(_Down, outputs=width, conv=conv, rngs=rngs)
        self.first = make(channels, is_first=True, is_halved=True)
        self.blocks = nnx.List([make(width, is_halved=index < halvings - 1) for index in range(halvings + 1)])

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        h = self.first(x, train=train)
        for block in self.blocks:
            h = block(h, train=train)
        return relu(h)


class _Down(nnx.Module):
    """(2) where it is the first, otherwise (3)."""

    def __init__(
        self,
        inputs: int,
        *,
        outputs: int,
        conv: Callable[..., Any],
        is_halved: bool,
        is_first: bool = False,
        rngs: nnx.Rngs,
    ):
        self.is_first, self.is_halved = is_first, is_halved
        self.convolutions = nnx.List(conv(a, outputs, kernel_init=_WIDE, rngs=rngs) for a in (inputs, outputs))
        self.shortcut = conv(inputs, outputs, 1, kernel_init=_PLAIN, rngs=rngs) if is_halved else None

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        h = self.convolutions[0](x if self.is_first else relu(x), train=train)
        h = self.convolutions[1](relu(h), train=train)
        if self.shortcut is None:
            return x + h
        # A 1x1 convolution before or behind a mean is the same, and behind it has a quarter of the pixels.
        return self.shortcut(BOX.down(x), train=train) + BOX.down(h)
