"""DCGAN: a convolutional generator against a convolutional critic.

Radford, Metz and Chintala 2015, arXiv 1511.06434; the losses are (2) of :mod:`gen_jax.losses.adversarial`, the game is
that of :mod:`gen_jax.models.gan`:

    critic     minimises  E sp(-D(x)) + E sp(D(G(z)))                                                     (1)
    generator  minimises  E sp(-D(G(z)))             z ~ N(0, I)                                          (2)

with batch normalisation in both networks, which that game keeps apart.
"""

from functools import partial

from gen_jax.checks import Count, plain
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.models.gan import GAN, Critic
from gen_jax.networks import dcgan as nets
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network


@plain
class DCGANConfig:
    """A DCGAN as plain data."""

    latent: Count = 100
    """Width of z."""
    base: Count = 64
    """Channels at the highest resolution; each halving of the side doubles them."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""
    label_width: Count = 32
    """Width of the label's embedding in the generator."""

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        common = {"channels": shape[2], "base": self.base, "classes": classes}
        generate = partial(network, nets.Generator, latent=self.latent, label_width=self.label_width, **common)
        generator = padded(generate, shape[:2], nets.MULTIPLE)
        critic = padded(partial(network, nets.Critic, **common), shape[:2], nets.MULTIPLE)
        return GAN(shape, classes, generator, (Critic("critic", critic),), self.latent)


REFERENCE = DCGANConfig()
"""64x64 colour: generator 3,576,704, critic 2,765,568 parameters. Adam 2e-4, beta1 0.5, batches of 128."""

SMALL = DCGANConfig(latent=64, base=32)
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
