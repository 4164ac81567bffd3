"""WGAN-GP: a critic whose slope is drawn to one between data and samples.

Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville 2017, "Improved training of Wasserstein GANs" (arXiv:1704.00028); the
losses and the penalty are (5) and (7) of :mod:`gen_jax.losses.adversarial`, the game is that of
:mod:`gen_jax.models.gan`:

    critic     minimises  E D(G(z)) - E D(x) + weight E (||grad D(u x + (1 - u) G(z))|| - 1)^2            (1)
               z ~ N(0, I), one u ~ U[0, 1] for each pair
    generator  minimises  -E D(G(z))                 every fifth step of the critic's                     (2)

The metric ``real_logit`` less ``fake_logit`` is an estimate of W1(data, samples). Labels are told by a projection; the
paper's conditional critic is one with a classifier beside it. Its generator's turns are of twice the batch, and its
data are dequantised; here neither.
"""

from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import Fields
from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.critics import gradient_penalty
from gen_jax.models.gan import GAN, played
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation


@plain
class WGANGPConfig:
    """A WGAN-GP as plain data."""

    net: Adversaries = Adversaries("resnet", latent=128, channels=128)
    """The networks; those whose critic does not normalise by batches: not dcgan."""
    weight: Amount = 10.0
    """Of the penalty."""
    generator_every: Count = 5
    """Turns of the critic for each of the generator."""
    augment: Augmentation = Augmentation()
    """What is done to images before the critic sees them."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        return played(
            fields,
            self.net,
            loss=wasserstein,
            penalties=(gradient_penalty(self.weight),),
            generator_every=self.generator_every,
            conditional=self.conditional,
            augment=self.augment,
        )


REFERENCE = WGANGPConfig()
"""32x32 colour: generator 1,204,483, critic 1,053,825 parameters. Adam 2e-4, decaying linearly to 0 over 100,000 turns
of the generator, beta1 0, beta2 0.9, batches of 64."""

COLOUR = WGANGPConfig(Adversaries("wgan-gp colour", latent=128, channels=128))
"""32x32 colour with the paper's simpler networks: 5,179,907 and 4,114,689. Adam 1e-4, beta1 0.5, beta2 0.9."""

DIGITS = WGANGPConfig(Adversaries("wgan-gp", latent=128, channels=64))
"""28x28 digits: 1,554,177 and 1,030,145. Adam 1e-4, beta1 0.5, beta2 0.9, batches of 50."""

SMALL = WGANGPConfig(Adversaries("wgan-gp", latent=64, channels=16), generator_every=2)
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
