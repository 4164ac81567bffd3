"""DCGAN: a convolutional generator against a convolutional critic.

Radford, Metz and Chintala 2015, arXiv 1511.06434; the losses are (2) of :mod:`gen_jax.losses.adversarial`.

    critic     minimises  E sp(-D(x)) + E sp(D(G(z)))                                                     (1)
    generator  minimises  E sp(-D(G(z)))             z ~ N(0, I)                                          (2)

Batch normalisation, which the game depends on, is kept apart in four ways: real and fake images pass the
critic as two batches, never one; (1) updates the critic's running statistics alone and (2) the generator's
alone; in either turn the other network normalises by its batch and forgets it; images are sampled by the
running statistics, so that no sample depends on those drawn with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.interpolate import slerp
from gen_jax.losses.adversarial import AdversarialLoss, non_saturating
from gen_jax.networks import dcgan as nets
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

Path = Callable[[jax.Array, jax.Array, ArrayLike], jax.Array]  # start, end, weight -> between


@dataclass(frozen=True)
class DCGAN:
    """The game of (1) and (2).

    Attributes:
      shape: H, W, C of an image.
      classes: labels that the generator is told, 0 for none.
      generator: ``z [B, latent], label [B] or None -> [B, H, W, C]`` in [-1, 1].
      critic: ``x [B, H, W, C], label [B] or None -> logits [B]``.
      latent: width of ``z``.
      loss: what the two minimise.
    """

    shape: tuple[int, int, int]
    classes: int
    generator: Network
    critic: Network
    latent: int
    loss: AdversarialLoss = non_saturating

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critic moves, then the generator."""
        return Turn("critic", self.critic_loss), Turn("generator", self.generator_loss)

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One per image."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of both players."""
        keys = jax.random.split(key)
        made = {"generator": self.generator.init(keys[0]), "critic": self.critic.init(keys[1])}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1); its metrics are the mean logits of real and of generated images."""
        label = self._label(batch)
        fake, _ = self._generate(params, buffers, batch, key)
        real_logits, statistics = self.critic.apply(
            params["critic"], buffers["critic"], batch["image"], label, train=True
        )
        fake_logits, statistics = self.critic.apply(params["critic"], statistics, fake, label, train=True)
        metrics = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
        return self.loss.critic(real_logits, fake_logits), Aux(metrics, {"critic": statistics})

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2), with latents of its own and, with classes, the labels of the batch."""
        fake, statistics = self._generate(params, buffers, batch, key)
        logits, _ = self.critic.apply(params["critic"], buffers["critic"], fake, self._label(batch), train=True)
        return self.loss.generator(logits), Aux({}, {"generator": statistics})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]``; with classes, of those of ``label [n]``."""
        z = self.latents(key, n)
        return self.decode(params, buffers, z, label=label)

    def latents(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws of z: ``[n, latent]``."""
        return jax.random.normal(jax.random.fold_in(key, 0), (n, self.latent))

    def decode(self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The images of latents ``z [n, latent]``, with classes given ``label [n]``."""
        if (label is not None) != (self.classes > 0):
            raise ValueError(
                f"expected {'a label per latent' if self.classes else 'no labels'}, got {label}; "
                "DCGANConfig(conditional=True) makes a generator that takes labels"
            )
        return self.generator.apply(params["generator"], buffers["generator"], z, label)[0]

    def interpolate(
        self,
        params: Params,
        buffers: Buffers,
        start: jax.Array,
        end: jax.Array,
        weights: jax.Array,
        *,
        label: jax.Array | None = None,
        path: Path | None = None,
    ) -> jax.Array:
        """Images between two latents.

        Args:
          params: of all players.
          buffers: of all players.
          start: latents ``[n, latent]``.
          end: latents ``[n, latent]``.
          weights: ``[k]``; 0 is ``start`` and 1 is ``end``.
          label: ``[n]``, with classes.
          path: of :mod:`gen_jax.interpolate`, ``slerp`` if not given.

        Returns:
          ``[n, k, H, W, C]``.
        """
        along = jax.vmap(path or slerp, in_axes=(None, None, 0), out_axes=1)(start, end, weights)
        repeated = None if label is None else jnp.repeat(label, len(weights))
        images = self.decode(params, buffers, along.reshape(-1, self.latent), label=repeated)
        return images.reshape(len(start), len(weights), *self.shape)

    def _generate(self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        z = self.latents(key, len(batch["image"]))
        return self.generator.apply(params["generator"], buffers["generator"], z, self._label(batch), train=True)

    def _label(self, batch: Batch) -> jax.Array | None:
        if not self.classes:
            return None
        return batch["label"]


def arithmetic(add: Sequence[jax.Array], subtract: Sequence[jax.Array] = ()) -> jax.Array:
    """The latent ``[latent]`` of "smiling woman + man - woman": a concept is a mean over exemplars.

    Averaging is what makes it stable: a single exemplar brings all its accidents along.

    Args:
      add: concepts, each of latents ``[k, latent]``.
      subtract: likewise.
    """
    means = [z.mean(axis=0) for z in add] + [-z.mean(axis=0) for z in subtract]
    return jnp.sum(jnp.stack(means), axis=0)


@dataclass(frozen=True)
class DCGANConfig:
    """A DCGAN as plain data."""

    latent: int = 100
    """Width of z."""
    base: int = 64
    """Channels at the highest resolution; each halving of the side doubles them."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""
    label_width: int = 32
    """Width of the label's embedding in the generator."""

    def build(self, fields: Fields) -> DCGAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing, or a number is out of range.
        """
        shape, _ = of_images(fields)
        if min(self.latent, self.base, self.label_width) < 1:
            raise ValueError(f"expected latent, base and label_width of at least 1, got {self}")
        classes = known_classes(fields, conditional=self.conditional)
        common = {"channels": shape[2], "base": self.base, "classes": classes}
        generate = partial(network, nets.Generator, latent=self.latent, label_width=self.label_width, **common)
        generator = padded(generate, shape[:2], nets.MULTIPLE)
        critic = padded(partial(network, nets.Critic, **common), shape[:2], nets.MULTIPLE)
        return DCGAN(shape, classes, generator, critic, self.latent)


REFERENCE = DCGANConfig()
"""64x64 colour: generator 3,576,704, critic 2,765,568 parameters. Adam 2e-4, beta1 0.5, batches of 128."""

SMALL = DCGANConfig(latent=64, base=32)
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
