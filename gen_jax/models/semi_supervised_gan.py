"""A classifier that learns from examples without labels, by telling them from generated ones.

Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498), sections 3.1 and 5; the losses are (2)
to (4) of :mod:`gen_jax.losses.improved`. With K classes and one more, what is generated, whose logit is held at 0:

    classifier  minimises  (3) of what is labelled + unlabelled_weight (4) of all                         (1)
    generator   minimises  (2) of the classifier's last hidden layer          z ~ N(0, I)                 (2)

At its optimum the classifier's softmax is p(label | x) and its log sum exp is log p(x) / q(x). Which examples have a
label is said by a field ``labelled``, 1 or 0 of each; without it all have.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.losses.improved import feature_matching, labelled, told_apart
from gen_jax.networks.improved_gan import Classifier, Generator
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


@dataclass(frozen=True)
class SemiSupervisedGAN:
    """The game of (1) and (2).

    Attributes:
      classifier: ``x [B, ...] -> features [B, F], logits [B, classes]``.
      generator: ``z [B, latent] -> x [B, ...]``.
      latent: width of ``z``.
      unlabelled_weight: see (1).
      makes: the field of the examples.
    """

    classifier: Network
    generator: Network
    latent: int
    unlabelled_weight: float = 1.0
    makes: str = "image"
    given: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The classifier, then the generator."""
        return Turn("classifier", self.classifier_loss), Turn("generator", self.generator_loss)

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of both players."""
        keys = jax.random.split(key)
        made = {"classifier": self.classifier.init(keys[0]), "generator": self.generator.init(keys[1])}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def classifier_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1); its metrics are both terms, and the share of labels found of those that are known."""
        (_, real), (_, fake), _ = self._seen(params, buffers, batch, key)
        label = batch["label"]
        known = batch["labelled"] > 0 if "labelled" in batch else jnp.ones(label.shape, bool)
        terms = {"labelled": labelled(real, label, known), "told_apart": told_apart(real, fake)}
        right = jnp.where(known, real.argmax(axis=-1) == label, False).sum() / jnp.maximum(known.sum(), 1)
        loss = terms["labelled"] + self.unlabelled_weight * terms["told_apart"]
        return loss, Aux({**terms, "accuracy": right})

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2)."""
        (real, _), (fake, _), statistics = self._seen(params, buffers, batch, key)
        return feature_matching(real, fake), Aux({}, {"generator": statistics})

    def classify(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """Logits ``[n, classes]`` of examples ``x [n, ...]``; log p(x) / q(x) is their log sum exp."""
        return self.classifier.apply(params["classifier"], buffers["classifier"], x)[0][1]

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """``n`` examples ``[n, ...]``."""
        return self.generator.apply(params["generator"], buffers["generator"], self.latents(key, n))[0]

    def latents(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws of z: ``[n, latent]``."""
        return jax.random.normal(jax.random.fold_in(key, 0), (n, self.latent))

    def _seen(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array], Any]:
        """What the classifier gives of real and of generated examples, and the generator's statistics."""
        x, noise = batch[self.makes], jax.random.split(jax.random.fold_in(key, 1))
        z = self.latents(key, len(x))
        fake, statistics = self.generator.apply(params["generator"], buffers["generator"], z, train=True)
        seen = [
            self.classifier.apply(params["classifier"], buffers["classifier"], each, key=own, train=True)[0]
            for each, own in ((x, noise[0]), (fake, noise[1]))
        ]
        return seen[0], seen[1], statistics


@plain
class SemiSupervisedGANConfig:
    """A semi-supervised classifier and its generator, of multilayer perceptrons, for images, points or features."""

    latent: Count = 100
    """Width of z."""
    hidden: tuple[Count, ...] = (500, 500)
    """Widths of the generator's hidden layers."""
    references: Count = 100
    """Latents that its virtual batch normalisation is against."""
    classifier_hidden: tuple[Count, ...] = (1000, 500, 250, 250, 250)
    """Widths of the classifier's hidden layers."""
    input_noise: Amount = 0.3
    """Deviation of the noise on its input in training, of pixels as numbers in [0, 1]."""
    noise: Amount = 0.5
    """Deviation of the noise on its hidden layers in training."""
    unlabelled_weight: Amount = 1.0
    """Weight of telling examples from generated ones beside that of labels."""

    def build(self, fields: Fields) -> SemiSupervisedGAN:
        """The game on images, or on an array of real numbers, some with labels.

        Raises:
          ValueError: without labels.
        """
        name, field = made_of(fields)
        classes = known_classes(fields, conditional=True)
        common = {"shape": field.shape, "limit": field.kind.limit}
        options = {"hidden": self.hidden, "references": self.references, "activation": jax.nn.softplus}
        generator = network(Generator, latent=self.latent, **options, **common)
        noise = {"input_noise": self.input_noise, "noise": self.noise}
        classifier = network(Classifier, classes=classes, hidden=self.classifier_hidden, **noise, **common)
        return SemiSupervisedGAN(classifier, generator, self.latent, self.unlabelled_weight, makes=name)


REFERENCE = SemiSupervisedGANConfig()
"""28x28 digits, with the widths and the noise of the paper's code. Adam 3e-3, beta1 0.5, batches of 100."""

SMALL = SemiSupervisedGANConfig(latent=32, hidden=(128, 128), classifier_hidden=(128, 64))
"""8x8 digits in minutes on two CPU cores."""
