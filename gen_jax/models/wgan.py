"""WGAN: a critic whose weights are kept small measures how far samples are from data.

Arjovsky, Chintala and Bottou 2017 (arXiv:1701.07875); the losses are (5) of :mod:`gen_jax.losses.adversarial`, the game
is that of :mod:`gen_jax.models.gan`, the networks are those of :mod:`gen_jax.models.dcgan`:

    critic     minimises  E D(G(z)) - E D(x)         |weights| <= c,   z ~ N(0, I)                        (1)
    generator  minimises  -E D(G(z))                 every fifth step of the critic's                     (2)

Where D may be any function of slope K at most, the least of (1) is -K W1(data, samples); the metric ``real_logit`` less
``fake_logit`` is that estimate. The cut at c belongs to the critic's optimizer (``clip_weights``) and falls upon all
that it learns, scales of normalisations among them. The paper's hundred steps of the critic before each of the first 25
of the generator, and before every 500th, are not taken: turns come at equal intervals.
"""

from gen_jax.checks import Count, plain
from gen_jax.fields import Fields
from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.gan import GAN, played
from gen_jax.networks.adversaries import Adversaries


@plain
class WGANConfig:
    """A WGAN as plain data."""

    net: Adversaries = Adversaries("dcgan", latent=100, channels=64)
    """The networks; any of them."""
    generator_every: Count = 5
    """Turns of the critic for each of the generator."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        every = self.generator_every
        return played(fields, self.net, loss=wasserstein, generator_every=every, conditional=self.conditional)


REFERENCE = WGANConfig()
"""64x64 colour: the networks of the DCGAN's reference. RMSProp 5e-5, weights within 0.01, batches of 64."""

SMALL = WGANConfig(Adversaries("dcgan", latent=64, channels=32))
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
