"""R3GAN: pairs of real and generated examples, both gradients penalised, and nothing else.

Huang, Gokaslan, Kuleshov and Tompkin 2024, "The GAN is dead; long live the GAN! A modern baseline GAN"
(arXiv:2501.05441); the losses and penalties are (8) and (6) of :mod:`gen_jax.losses.adversarial`, the game is that of
:mod:`gen_jax.models.gan`, the networks are those of :mod:`gen_jax.networks.r3gan`:

    critic     minimises  E sp(D(G(z)) - D(x)) + gamma / 2 (E ||grad D(x)||^2 + E ||grad D(G(z))||^2)     (1)
    generator  minimises  E sp(D(x) - D(G(z)))                           z ~ N(0, I)                      (2)

with both penalties in every step, through the augmentation where there is one. In the paper learning rate, beta2, gamma
and the half-life of the averages change over the run; here gamma and beta2 stay.
"""

from gen_jax.checks import Amount, plain
from gen_jax.fields import Fields
from gen_jax.losses.adversarial import relativistic
from gen_jax.models.critics import r1, r2
from gen_jax.models.gan import GAN, played
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation


@plain
class R3GANConfig:
    """An R3GAN as plain data."""

    net: Adversaries = Adversaries("r3gan", latent=64, channels=768)
    """The networks; those whose critic does not normalise by batches: not dcgan."""
    gamma: Amount = 0.05
    """Weight of both penalties."""
    augment: Augmentation = Augmentation("pipe", share=0.55)
    """What is done to images before the critic sees them."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        penalties = (r1(self.gamma), r2(self.gamma))
        return played(
            fields, self.net, loss=relativistic, penalties=penalties, conditional=self.conditional, augment=self.augment
        )


REFERENCE = R3GANConfig()
"""32x32 colour: generator 20,732,160, critic 20,683,776 parameters; with ten classes 20,781,952 and 21,280,512; at
256x256 without classes 23,057,952 and 23,009,568. Adam 2e-4, beta1 0, batches of 512."""

SMALL = R3GANConfig(Adversaries("r3gan", 64, 32, blocks=1, group=64, full=8), gamma=0.5, augment=Augmentation())
"""8x8 digits or 28x28 Fashion-MNIST in minutes on two CPU cores, where one group is faster than several."""
