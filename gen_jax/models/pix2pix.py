"""pix2pix: a translation that is learned from pairs.

Isola, Zhu, Zhou and Efros 2017, "Image-to-image translation with conditional adversarial networks"
(arXiv:1611.07004). Pairs of x, the field ``image``, and y, ``other``; a critic of patches sees both. Means over
numbers, sp the softplus:

    generator   minimises  E sp(-D(x, G(x))) + weight E |G(x) - y|                                        (1)
    critic      minimises  1/2 E sp(-D(x, y)) + 1/2 E sp(D(x, G(x)))                                      (2)

The networks are those of CycleGAN, not the paper's U-Net, and no dropout serves as noise: a translation is one image.
Where a CycleGAN is given no pairs, this is what it could reach with them.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, plain
from gen_jax.fields import Fields
from gen_jax.losses.adversarial import non_saturating
from gen_jax.models.cyclegan import DOMAINS, two_domains
from gen_jax.networks.translators import Translators
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


@dataclass(frozen=True)
class Pix2Pix:
    """The game of (1) and (2).

    Attributes:
      generator: ``x [B, H, W, C] -> [B, H, W, D]``.
      critic: ``[B, H, W, C + D] -> [B, ...]``, of x and behind it y.
      weight: of the distance.
    """

    generator: Network
    critic: Network
    weight: float = 100.0
    makes: str = "other"
    given: tuple[str, ...] = ("image",)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic, then the generator."""
        return (Turn("critic", self.critic_loss), Turn("generator", self.generator_loss))

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of both players."""
        keys = jax.random.split(key)
        made = {"generator": self.generator.init(keys[0]), "critic": self.critic.init(keys[1])}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2)."""
        x, y = (batch[name] for name in DOMAINS)
        logits = [self._logits(params, x, each) for each in (y, self.translate(params, x))]
        return non_saturating.critic(*logits) / 2, Aux({})

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1); its metric is the distance."""
        x, y = (batch[name] for name in DOMAINS)
        made = self.translate(params, x)
        distance = jnp.abs(made - y).mean()
        judged = non_saturating.generator(self._logits(params, x, made))
        return judged + self.weight * distance, Aux({"distance": distance})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, image: jax.Array) -> jax.Array:
        """``n`` translations, of ``image [n, H, W, C]``."""
        return self.translate(params, image)

    def translate(self, params: Params, x: jax.Array) -> jax.Array:
        """Images ``[B, H, W, C]`` in the other domain."""
        return self.generator.apply(params["generator"], {}, x)[0]

    def _logits(self, params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        return self.critic.apply(params["critic"], {}, jnp.concatenate([x, y], axis=-1))[0]


@plain
class Pix2PixConfig:
    """A pix2pix as plain data."""

    net: Translators = Translators()
    """The networks."""
    weight: Amount = 100.0
    """Of the distance."""

    def build(self, fields: Fields) -> Pix2Pix:
        """The game on pairs of images.

        Raises:
          ValueError: of other data.
        """
        image, other = two_domains(fields)
        generator = self.net.generator(image[:2], image[2], other[2])
        return Pix2Pix(generator, self.net.critic(image[:2], image[2] + other[2]), self.weight)


REFERENCE = Pix2PixConfig()
"""256x256 colour, with the networks of CycleGAN. Adam 2e-4, beta1 0.5."""

SMALL = Pix2PixConfig(Translators(channels=8, blocks=3, critic_channels=16, strides=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
