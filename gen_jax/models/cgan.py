"""A GAN whose players are told the label.

Mirza and Osindero 2014, "Conditional generative adversarial nets" (arXiv:1411.1784); the game is that of
:mod:`gen_jax.models.gan`, the networks are those of :mod:`gen_jax.networks.cgan`, and labels of samples are those of
the batch:

    critic     minimises  E sp(-D(x, y)) + E sp(D(G(z, y), y))                                            (1)
    generator  minimises  E sp(-D(G(z, y), y)), or with "minimax"  -E sp(D(G(z, y), y))                   (2)
"""

from typing import Literal

from gen_jax.checks import Count, Fraction, plain
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.models.critics import LOSSES
from gen_jax.models.critics import Critic as Judge
from gen_jax.models.gan import GAN
from gen_jax.networks.cgan import Critic, Generator
from gen_jax.nn.functional import network


@plain
class CGANConfig:
    """A GAN of labelled images, points or features."""

    latent: Count = 100
    """Width of z."""
    latent_width: Count = 200
    """Of the generator's layer of z."""
    label_width: Count = 1000
    """Of its layer of the label."""
    width: Count = 1200
    """Of its layer of both."""
    units: tuple[Count, Count, Count] = (240, 50, 240)
    """Of the critic's maxout layers: of the example, of the label and of both."""
    pieces: tuple[Count, Count, Count] = (5, 5, 4)
    """Affine maps of their units."""
    dropout: Fraction = 0.5
    """Share of each hidden layer, of both players, dropped in training."""
    loss: Literal["minimax", "non_saturating"] = "non_saturating"
    """What the generator minimises."""

    def build(self, fields: Fields) -> GAN:
        """The game on labelled images, or on a labelled array of real numbers.

        Raises:
          ValueError: without labels.
        """
        name, field = made_of(fields)
        if "label" not in fields:
            raise ValueError("expected labelled data, got data without labels; MaxoutGANConfig needs none")
        classes = known_classes(fields, conditional=True)
        common = {"shape": field.shape, "classes": classes, "limit": field.kind.limit, "dropout": self.dropout}
        widths = {"latent_width": self.latent_width, "label_width": self.label_width, "width": self.width}
        generator = network(Generator, latent=self.latent, **widths, **common)
        critic = network(Critic, units=self.units, pieces=self.pieces, **common)
        judges = (Judge("critic", critic, LOSSES[self.loss]),)
        return GAN(field.shape, classes, generator, judges, self.latent, makes=name)


REFERENCE = CGANConfig()
"""28x28 digits of ten classes. Batches of 100."""

SMALL = CGANConfig(latent=32, latent_width=64, label_width=64, width=256, units=(64, 16, 64), dropout=0.2)
"""8x8 digits in minutes on two CPU cores."""
