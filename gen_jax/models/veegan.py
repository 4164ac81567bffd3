"""VEEGAN: a reconstructor that takes data back to latents keeps a generator from leaving modes out.

Srivastava, Valkov, Russell, Gutmann and Sutton 2017, "VEEGAN: reducing mode collapse in GANs using implicit variational
learning" (arXiv:1705.07761). Data are x, latents z ~ N(0, I) of width K; the generator G makes examples of latents, the
reconstructor F latents of examples, and the critic D judges pairs. All is minimised, with sp the softplus:

    critic          E sp(-D(z, G(z))) + E sp(D(F(x), x))                                                  (1)
    generator       E D(z, G(z)) + E ||z - F(G(z))||^2                                                    (2)
    reconstructor   E ||z - F(G(z))||^2                                                                   (3)

At its optimum D is the logarithm of the density of pairs (z, G(z)) over that of pairs (F(x), x), so that its mean in
(2) is their Kullback-Leibler divergence: unlike elsewhere, D is high where a pair is made of a latent. A latent that no
example is taken to is what the critic sees of a mode that is missing. (1) to (3) are the paper's Algorithm 1; its code
for images also lets the reconstructor descend the critic.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus

from gen_jax.checks import Count, plain
from gen_jax.fields import Fields, made_of
from gen_jax.networks.dense_gan import DenseCritic, DenseGenerator
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


@dataclass(frozen=True)
class VEEGAN:
    """The game of (1) to (3).

    Attributes:
      shape: of what it makes.
      generator: ``z [B, latent] -> [B, *shape]``.
      reconstructor: ``x [B, N] -> [B, latent]``, of examples as rows.
      critic: ``[B, latent + N] -> logits [B]``, of latents and behind them examples as rows.
      latent: width of ``z``.
      makes: the field of the examples.
    """

    shape: tuple[int, ...]
    generator: Network
    reconstructor: Network
    critic: Network
    latent: int
    makes: str = "image"
    given: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic, then the generator, then the reconstructor."""
        return (
            Turn("critic", self.critic_loss),
            Turn("generator", self.generator_loss),
            Turn("reconstructor", self.reconstructor_loss),
        )

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of all players."""
        networks = {"critic": self.critic, "generator": self.generator, "reconstructor": self.reconstructor}
        made = {name: net.init(own) for (name, net), own in zip(networks.items(), jax.random.split(key, 3))}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1); its metrics are the mean logits of pairs made of data and of pairs made of latents."""
        x = batch[self.makes]
        z = self.latents(key, len(x))
        of_latents = self._logits(params, buffers, z, self.decode(params, buffers, z))
        of_data = self._logits(params, buffers, self.encode(params, buffers, x), x)
        metrics = {"latent_logit": of_latents.mean(), "data_logit": of_data.mean()}
        return softplus(-of_latents).mean() + softplus(of_data).mean(), Aux(metrics)

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2)."""
        z = self.latents(key, len(batch[self.makes]))
        x = self.decode(params, buffers, z)
        error = self._error(params, buffers, z, x)
        return self._logits(params, buffers, z, x).mean() + error, Aux({"reconstruction": error})

    def reconstructor_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3)."""
        z = self.latents(key, len(batch[self.makes]))
        return self._error(params, buffers, z, self.decode(params, buffers, z)), Aux({})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """``n`` examples ``[n, *shape]``."""
        return self.decode(params, buffers, self.latents(key, n))

    def latents(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws of z: ``[n, latent]``."""
        return jax.random.normal(key, (n, self.latent))

    def decode(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The examples ``[n, *shape]`` of latents ``z [n, latent]``."""
        return self.generator.apply(params["generator"], buffers["generator"], z)[0]

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The latents ``[n, latent]`` that the reconstructor takes examples ``x [n, *shape]`` to."""
        apply = self.reconstructor.apply
        return apply(params["reconstructor"], buffers["reconstructor"], x.reshape(len(x), -1))[0]

    def _logits(self, params: Params, buffers: Buffers, z: jax.Array, x: jax.Array) -> jax.Array:
        pairs = jnp.concatenate([z, x.reshape(len(x), -1)], axis=-1)
        return self.critic.apply(params["critic"], buffers["critic"], pairs)[0]

    def _error(self, params: Params, buffers: Buffers, z: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.square(z - self.encode(params, buffers, x)).sum(axis=-1).mean()


@plain
class VEEGANConfig:
    """A VEEGAN of multilayer perceptrons, for points, features or images."""

    latent: Count = 32
    """Width of z."""
    hidden: tuple[Count, ...] = (256,)
    """Widths of the hidden layers, in all three networks."""

    def build(self, fields: Fields) -> VEEGAN:
        """The game on images, or on an array of real numbers."""
        name, field = made_of(fields)
        numbers = math.prod(field.shape)
        common = {"hidden": self.hidden, "activation": relu}
        generator = network(DenseGenerator, shape=field.shape, latent=self.latent, limit=field.kind.limit, **common)
        reconstructor = network(DenseGenerator, shape=(self.latent,), latent=numbers, **common)
        critic = network(DenseCritic, shape=(self.latent + numbers,), **common)
        return VEEGAN(field.shape, generator, reconstructor, critic, self.latent, makes=name)


REFERENCE = VEEGANConfig()
"""28x28 digits: the widths of the paper's code, without its critic's dropout. Adam 1e-3, beta1 0.7, batches of 200."""

SMALL = VEEGANConfig(latent=8, hidden=(128, 128))
"""Points in the plane in a minute on two CPU cores."""
