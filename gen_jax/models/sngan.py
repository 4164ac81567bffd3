"""SNGAN: a critic all of whose layers have slope one, and which is told the class by a projection.

Miyato, Kataoka, Koyama and Yoshida 2018 (arXiv:1802.05957), Miyato and Koyama 2018 (arXiv:1802.05637), the losses of
Lim and Ye 2017 (arXiv:1705.02894); they are (3) of :mod:`gen_jax.losses.adversarial`, the game is that of
:mod:`gen_jax.models.gan`, the networks are those of :mod:`gen_jax.networks.resnet_gan` with weights W / sigma(W):

    critic     minimises  E relu(1 - D(x)) + E relu(1 + D(G(z)))         z ~ N(0, I)                      (1)
    generator  minimises  -E D(G(z))                 every fifth step of the critic's                     (2)
    classes    D(x, y) = w' phi(x) + <E[y], phi(x)>                                                       (3)

The paper's generator's turns are of twice the batch, and its data are dequantised; here neither.
"""

from typing import Literal

from gen_jax.checks import Count, plain
from gen_jax.fields import Fields
from gen_jax.models.critics import LOSSES
from gen_jax.models.gan import GAN, played
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation


@plain
class SNGANConfig:
    """An SNGAN as plain data."""

    net: Adversaries = Adversaries("sngan", latent=128, channels=256, critic_channels=128)
    """The networks; any of them."""
    loss: Literal["hinge", "non_saturating"] = "hinge"
    """What generator and critic minimise."""
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
            loss=LOSSES[self.loss],
            generator_every=self.generator_every,
            conditional=self.conditional,
            augment=self.augment,
        )


REFERENCE = SNGANConfig()
"""32x32 colour: generator 4,276,739, critic 1,053,824 parameters; with ten classes 4,304,387 and 1,055,104. Adam 2e-4,
decaying linearly to 0 over 50,000 turns of the generator, beta1 0, beta2 0.9, batches of 64."""

SMALL = SNGANConfig(Adversaries("sngan", latent=64, channels=32), generator_every=2)
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores."""
