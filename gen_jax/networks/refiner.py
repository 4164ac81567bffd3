"""Networks of the second stage of a residual VAE: what is to be added to a coarse image."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.networks.vae import ConvDecoder
from gen_jax.nn.conv import Conv
from gen_jax.nn.embed import appended
from gen_jax.nn.fit import Size
from gen_jax.nn.layers import ZERO
from gen_jax.nn.mlp import MLP


class Refiner(nnx.Module):
    """``u [B, latent], coarse [B, H, W, C] -> [B, H, W, C]``, 0 to begin with; H and W divisible by 2 for every width.

    A decoder makes ``features`` channels of the latents, and two 3x3 convolutions see them beside the coarse image.
    """

    def __init__(
        self,
        size: Size,
        channels: int,
        *,
        latent: int,
        widths: Sequence[int],
        dense: Sequence[int],
        features: int,
        rngs: nnx.Rngs,
    ):
        self.decoder = ConvDecoder(size, features, latent=latent, widths=widths, dense=dense, rngs=rngs)
        self.mix = Conv(features + channels, features, kernel_init=nnx.initializers.he_uniform(), rngs=rngs)
        self.out = Conv(features, channels, kernel_init=ZERO, rngs=rngs)

    def __call__(
        self, u: jax.Array, coarse: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        h = jax.nn.relu(self.decoder(u))
        return self.out(jax.nn.relu(self.mix(appended(h, coarse))))


class DenseRefiner(nnx.Module):
    """``u [B, latent], coarse [B, *shape] -> [B, *shape]`` by a perceptron of tanh that sees both; 0 to begin with."""

    def __init__(self, shape: Sequence[int], *, latent: int, hidden: Sequence[int], rngs: nnx.Rngs):
        size = math.prod(shape)
        self.body = MLP(latent + size, hidden[:-1], hidden[-1], activation=jnp.tanh, rngs=rngs)
        self.out = nnx.Linear(hidden[-1], size, kernel_init=ZERO, rngs=rngs)

    def __call__(
        self, u: jax.Array, coarse: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """See the class."""
        seen = appended(u, coarse.reshape(len(coarse), -1))
        return self.out(jnp.tanh(self.body(seen))).reshape(coarse.shape)
