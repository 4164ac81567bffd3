"""The networks of VQ-VAE-2 with two levels of codes.

Razavi, van den Oord and Vinyals 2019 (arXiv:1906.00446), in the layout of the widely used implementation with residual
channels of 32 in place of 64: 1,388,867 parameters, and two codebooks of 512 x 64. With ``n`` halvings to the bottom
level, of which the top is one more:

    b = E_b(x),  z_t = W E_t(b)                           the top's outputs, from the bottom's features         (1)
    z_b = W [D_t(q_t), b]                                 the bottom's, given the top's codes                   (2)
    x' = D([U q_t, q_b])                                  the image, U a transposed convolution                 (3)
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.networks.vqvae import Decoder, ResidualStack
from gen_jax.nn.conv import Conv, ConvTranspose

_INIT = nnx.initializers.he_uniform()


class Descent(nnx.Module):
    """``[B, H, W, inputs] -> [B, H / 2^n, W / 2^n, channels]`` through ``n`` halvings."""

    def __init__(
        self,
        inputs: int,
        *,
        halvings: int,
        channels: int,
        residual_channels: int,
        residual_layers: int,
        rngs: nnx.Rngs,
    ):
        widths = [inputs, *[channels // 2] * max(halvings - 1, 1), *[channels] * (halvings > 1)]
        self.downs = nnx.List(
            Conv(a, b, 4, stride=2, padding=1, kernel_init=_INIT, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.middle = Conv(widths[-1], channels, 3, kernel_init=_INIT, rngs=rngs)
        self.residual = ResidualStack(channels, residual_channels, residual_layers, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """See the class."""
        for down in self.downs:
            x = jax.nn.relu(down(x))
        return self.residual(self.middle(x))


class TwoLevels(nnx.Module):
    """Images ``[B, H, W, channels]``, sides divisible by ``2^(halvings + 1)``, to outputs of two levels and back.

    Args:
      image_channels: of the images.
      halvings: from them to the bottom level.
      channels: width of the convolutions.
      residual_channels: width inside the residual layers.
      residual_layers: of every part.
      top_width: numbers that the decoder is given of a code of the top.
      bottom_width: the same of the bottom.
    """

    def __init__(
        self,
        image_channels: int,
        *,
        halvings: int,
        channels: int,
        residual_channels: int,
        residual_layers: int,
        top_width: int,
        bottom_width: int,
        rngs: nnx.Rngs,
    ):
        inner = {"channels": channels, "residual_channels": residual_channels, "residual_layers": residual_layers}
        self.bottom = Descent(image_channels, halvings=halvings, **inner, rngs=rngs)
        self.top = Descent(channels, halvings=1, **inner, rngs=rngs)
        self.top_head = Conv(channels, top_width, 1, rngs=rngs)
        self.bottom_head = Conv(top_width + channels, bottom_width, 1, rngs=rngs)
        self.from_top = Decoder(top_width, halvings=1, code_width=top_width, **inner, rngs=rngs)
        self.up = ConvTranspose(top_width, top_width, 4, stride=2, padding=1, rngs=rngs)
        width = top_width + bottom_width
        self.decoder = Decoder(image_channels, halvings=halvings, code_width=width, **inner, rngs=rngs)

    def __call__(
        self, x: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """(1): the top's outputs ``[B, h / 2, w / 2, top_width]``, and the features ``[B, h, w, channels]``."""
        features = self.bottom(x)
        return self.top_head(self.top(features)), features

    def outputs_of_bottom(
        self, features: jax.Array, top: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(2): ``[B, h, w, bottom_width]``, of features and what the top's codes stand for."""
        return self.bottom_head(jnp.concatenate([self.from_top(top), features], axis=-1))

    def decode(
        self, top: jax.Array, bottom: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(3): the mean image, of what the codes stand for."""
        return self.decoder(jnp.concatenate([self.up(top), bottom], axis=-1))
