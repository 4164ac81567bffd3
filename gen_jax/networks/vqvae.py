"""Encoder and decoder of the VQ-VAE, in the layout of DeepMind's CIFAR-10 example: 662,723 parameters."""

import itertools

import jax
from flax import nnx

from gen_jax.nn.conv import Conv, ConvTranspose

_INIT = nnx.initializers.he_uniform()


class ResidualStack(nnx.Module):
    """``x + conv1(relu(conv3(relu(x))))`` a few times, and a relu."""

    def __init__(self, channels: int, hidden: int, layers: int, *, rngs: nnx.Rngs):
        self.narrow = nnx.List(Conv(channels, hidden, 3, kernel_init=_INIT, rngs=rngs) for _ in range(layers))
        self.wide = nnx.List(Conv(hidden, channels, 1, kernel_init=_INIT, rngs=rngs) for _ in range(layers))

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[B, H, W, channels]``, unchanged in shape."""
        for narrow, wide in zip(self.narrow, self.wide):
            x = x + wide(jax.nn.relu(narrow(jax.nn.relu(x))))
        return jax.nn.relu(x)


class Encoder(nnx.Module):
    """``[B, H, W, C] -> [B, H / 2^n, W / 2^n, code_width]`` through ``n`` halvings."""

    def __init__(
        self,
        inputs: int,
        *,
        halvings: int,
        channels: int,
        residual_channels: int,
        residual_layers: int,
        code_width: int,
        rngs: nnx.Rngs,
    ):
        widths = [inputs, *[channels // 2] * (halvings - 1), channels]
        self.downs = nnx.List(
            Conv(a, b, 4, stride=2, padding=1, kernel_init=_INIT, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.middle = Conv(channels, channels, 3, kernel_init=_INIT, rngs=rngs)
        self.residual = ResidualStack(channels, residual_channels, residual_layers, rngs=rngs)
        self.head = Conv(channels, code_width, 1, rngs=rngs)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """What is quantised."""
        for down in self.downs:
            x = jax.nn.relu(down(x))
        return self.head(self.residual(self.middle(x)))


class Decoder(nnx.Module):
    """``[B, h, w, code_width] -> [B, h 2^n, w 2^n, outputs]`` through ``n`` doublings."""

    def __init__(
        self,
        outputs: int,
        *,
        halvings: int,
        channels: int,
        residual_channels: int,
        residual_layers: int,
        code_width: int,
        rngs: nnx.Rngs,
    ):
        widths = [channels, *[channels // 2] * (halvings - 1), outputs]
        self.middle = Conv(code_width, channels, 3, kernel_init=_INIT, rngs=rngs)
        self.residual = ResidualStack(channels, residual_channels, residual_layers, rngs=rngs)
        self.ups = nnx.List(
            ConvTranspose(a, b, 4, stride=2, padding=1, kernel_init=_INIT, rngs=rngs)
            for a, b in itertools.pairwise(widths)
        )

    def __call__(self, z: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """The mean image."""
        x = self.residual(self.middle(z))
        for up in self.ups[:-1]:
            x = jax.nn.relu(up(x))
        return self.ups[-1](x)
