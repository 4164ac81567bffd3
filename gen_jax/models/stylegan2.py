"""StyleGAN2: styles that modulate weights, a path length that is kept even, and penalties now and then.

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" (arXiv:1912.04958), configuration F; the
networks are those of :mod:`gen_jax.networks.stylegan2`, the game is that of :mod:`gen_jax.models.styles`:

    critic     E sp(-D(x)) + E sp(D(G(z)))                                                                        (1)
    R1         n gamma / 2 E ||gradient of D(x) in x||^2            every n-th step, n = 16                        (2)
    generator  E sp(-D(G(z)))                                                                                     (3)
    path       n weight E (|J^T y| - a)^2                           every n-th step, n = 4, on half of a batch     (4)

(2) and (4) are turns of their own, each one more step of its player's optimizer, and n times as large to make up for
those between. The paper's optimizers are Adam without a first moment whose rate and second decay are those of the
turns taken together: 0.002 r and 0.99^r with r = n / (n + 1).
"""

from functools import partial
from typing import Any

from gen_jax.checks import Amount, Count, Share, plain
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.models.critics import Critic, GeneratorPenalty, r1
from gen_jax.models.gan import GAN
from gen_jax.models.styles import StyleGAN
from gen_jax.networks import stylegan2 as nets
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.fit import padded, whole
from gen_jax.nn.functional import network
from gen_jax.nn.ladder import halvings
from gen_jax.protocol import Network


@plain
class StyleGAN2Config:
    """A StyleGAN2 as plain data."""

    latent: Count = 512
    """Width of z."""
    style_width: Count = 512
    """Width of w."""
    mapping_layers: Count = 8
    """Dense layers from z to w."""
    base: Count = 32
    """Channels at full resolution; each halving of the side doubles them."""
    most: Count = 512
    """Channels that no level exceeds."""
    mixing: Share = 0.9
    """Probability that a generated image has the styles of two latents while it trains."""
    r1: Amount = 10.0
    """Weight gamma of the penalty gamma / 2 ||gradient||^2 at real images; 0 for none."""
    r1_every: Count = 16
    """Steps from one penalty to the next, each as many times as large."""
    path: Amount = 2.0
    """Weight of the path length's penalty; 0 for none."""
    path_every: Count = 4
    """Steps from one to the next, each as many times as large."""
    group: Count = 4
    """Images that the critic's minibatch deviation compares."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> StyleGAN:
        """The game on images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        common: dict[str, Any] = {"channels": shape[2], "base": self.base, "most": self.most}

        def generate(size: tuple[int, int]) -> Network:
            return network(
                StyledGenerator,
                synthesis=partial(nets.Synthesis, size, width=self.style_width, **common),
                latent=self.latent,
                width=self.style_width,
                mapping_layers=self.mapping_layers,
                classes=classes,
                mixing=self.mixing,
            )

        criticise = partial(network, nets.Critic, group=self.group, classes=classes, **common)
        generator, critic = (padded(make, shape[:2], nets.MULTIPLE) for make in (generate, criticise))
        penalty = (r1(self.r1 * self.r1_every, self.r1_every),) if self.r1 else ()
        path = GeneratorPenalty(StyledGenerator.penalise_path, self.path * self.path_every, self.path_every, 0.5)
        game = GAN(
            shape,
            classes,
            generator,
            (Critic("critic", critic, penalties=penalty),),
            self.latent,
            penalties=(path,) if self.path else (),
        )
        return StyleGAN(game, 2 * len(halvings(whole(shape[:2], nets.MULTIPLE))))


REFERENCE = StyleGAN2Config()
"""Configuration F at 1024x1024 colour: generator 30,370,060 and critic 29,012,513 parameters. Adam 0.002, beta1 0,
beta2 0.99, batches of 32, gamma 10."""

SMALL = StyleGAN2Config(
    latent=64, style_width=64, mapping_layers=2, base=16, most=64, r1=0.5, r1_every=8, path=0.0, mixing=0.0
)
"""28x28 Fashion-MNIST or 8x8 digits in minutes on two CPU cores."""
