"""DCGAN: a convolutional generator against a convolutional critic.

Radford, Metz and Chintala 2015, arXiv 1511.06434; the losses are (2) of :mod:`gen_jax.losses.adversarial`, the game is
that of :mod:`gen_jax.models.gan`:

    critic     minimises  E sp(-D(x)) + E sp(D(G(z)))                                                     (1)
    generator  minimises  E sp(-D(G(z)))             z ~ N(0, I)                                          (2)

with batch normalisation in both networks, which that game keeps apart.
"""

from gen_jax.checks import plain
from gen_jax.fields import Fields
from gen_jax.models.gan import GAN, played
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation


@plain
class DCGANConfig:
    """A DCGAN as plain data."""

    net: Adversaries = Adversaries("dcgan", latent=100, channels=64)
    """The networks; any of them."""
    augment: Augmentation = Augmentation()
    """What is done to images before the critic sees them."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        return played(fields, self.net, augment=self.augment, conditional=self.conditional)


REFERENCE = DCGANConfig()
"""64x64 colour: generator 3,576,704, critic 2,765,568 parameters. Adam 2e-4, beta1 0.5, batches of 128."""

SMALL = DCGANConfig(Adversaries("dcgan", latent=64, channels=32))
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
