"""D2GAN: a generator against two critics, of whom one rewards data and the other samples.

Nguyen, Le, Vu and Phung 2017, "Dual discriminator generative adversarial nets" (arXiv:1709.03831); the losses are (1)
and (2) of :mod:`gen_jax.losses.dual`, the game is that of :mod:`gen_jax.models.gan`:

    data_critic     minimises  -alpha E log D1(x) + E D1(G(z))                   z ~ N(0, I)              (1)
    sample_critic   minimises  E D2(x) - beta E log D2(G(z))                                              (2)
    generator       minimises  -E D1(G(z)) + beta E log D2(G(z))                                          (3)

Against the best critics, (3) is alpha KL(data || samples) + beta KL(samples || data), but for a constant.

The paper's points have a covariance of 0.02 I, which is a deviation of 0.141; those of the data set ``ring`` have a
deviation of 0.02, as in the paper on unrolled GANs, and are much harder.
"""

from typing import Annotated, TypeAlias

import jax

from gen_jax.checks import Count, Within, plain
from gen_jax.fields import Fields, made_of
from gen_jax.losses.dual import rewards_data, rewards_samples
from gen_jax.models.critics import Critic
from gen_jax.models.gan import GAN
from gen_jax.networks.dense_gan import DenseCritic, DenseGenerator
from gen_jax.nn.functional import network

Weight: TypeAlias = Annotated[float, Within(0, 1, open_low=True)]


@plain
class D2GANConfig:
    """A D2GAN of multilayer perceptrons, for points, features or images."""

    latent: Count = 256
    """Width of z."""
    hidden: tuple[Count, ...] = (128, 128)
    """Widths of the generator's hidden layers."""
    critic_hidden: tuple[Count, ...] = (128,)
    """Widths of each critic's."""
    alpha: Weight = 1.0
    """Of KL(data || samples)."""
    beta: Weight = 1.0
    """Of KL(samples || data)."""

    def build(self, fields: Fields) -> GAN:
        """The game on images, or on an array of real numbers."""
        name, field = made_of(fields)
        common = {"shape": field.shape, "activation": jax.nn.relu, "kernel_init": jax.nn.initializers.normal(0.01)}
        limit = field.kind.limit
        generator = network(DenseGenerator, latent=self.latent, hidden=self.hidden, limit=limit, **common)
        judge = network(DenseCritic, hidden=self.critic_hidden, **common)
        critics = (
            Critic("data_critic", judge, rewards_data(self.alpha)),
            Critic("sample_critic", judge, rewards_samples(self.beta)),
        )
        return GAN(field.shape, 0, generator, critics, self.latent, makes=name)


REFERENCE = D2GANConfig()
"""Points in the plane: generator 49,666, each critic 513 parameters. Adam 2e-4, beta1 0.5, batches of 512."""

SMALL = D2GANConfig(latent=16, critic_hidden=(128, 128))
"""Points in the plane in a minute on two CPU cores."""
