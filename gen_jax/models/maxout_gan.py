"""The first GAN: rectifiers against maxout units with dropout.

Goodfellow et al. 2014 (arXiv:1406.2661), with what its code says and the paper does not; the losses are (1) and (2) of
:mod:`gen_jax.losses.adversarial`, the game is that of :mod:`gen_jax.models.gan`:

    critic     minimises  E sp(-D(x)) + E sp(D(G(z)))                 z ~ N(0, I)                         (1)
    generator  minimises  E sp(-D(G(z))), or with "minimax"  -E sp(D(G(z)))                               (2)

At the critic's optimum, (1) is log 4 - 2 JSD(data, samples). The code halves (1), moves both players at once, each
against the other as it was, and descends by SGD with momentum, which is none of our recipes: hand ``gen_jax.fit``
optax's. The generator's last bias begins at zero here, there as the mean image.
"""

from typing import Literal

from gen_jax.checks import Count, Fraction, plain
from gen_jax.fields import Fields, made_of
from gen_jax.models.critics import LOSSES
from gen_jax.models.critics import Critic as Judge
from gen_jax.models.gan import GAN
from gen_jax.networks.maxout_gan import Critic, Generator
from gen_jax.nn.functional import network


@plain
class MaxoutGANConfig:
    """The GAN of 2014, for images, points or features."""

    latent: Count = 100
    """Width of z."""
    hidden: tuple[Count, ...] = (1200, 1200)
    """Widths of the generator's hidden layers."""
    units: tuple[Count, ...] = (240, 240)
    """Of the critic's maxout layers."""
    pieces: Count = 5
    """Affine maps of a maxout unit."""
    input_dropout: Fraction = 0.2
    """Share of the critic's input dropped in training."""
    dropout: Fraction = 0.5
    """Share of each of its hidden layers dropped in training."""
    loss: Literal["minimax", "non_saturating"] = "non_saturating"
    """What the generator minimises."""

    def build(self, fields: Fields) -> GAN:
        """The game on images, or on an array of real numbers."""
        name, field = made_of(fields)
        common = {"shape": field.shape, "limit": field.kind.limit}
        generator = network(Generator, latent=self.latent, hidden=self.hidden, **common)
        dropout = {"input_dropout": self.input_dropout, "dropout": self.dropout}
        critic = network(Critic, hidden=self.units, pieces=self.pieces, **dropout, **common)
        return GAN(field.shape, 0, generator, (Judge("critic", critic, LOSSES[self.loss]),), self.latent, makes=name)


REFERENCE = MaxoutGANConfig()
"""28x28 digits: generator 2,503,984, critic 1,231,441 parameters. Batches of 100."""

SMALL = MaxoutGANConfig(latent=32, hidden=(256, 256), units=(64, 64), input_dropout=0.0, dropout=0.2)
"""8x8 digits in minutes on two CPU cores."""
