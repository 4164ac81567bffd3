"""StyleGAN: styles, noise and a constant, and a game that grows.

Karras et al. 2019, "A style-based generator architecture for generative adversarial networks" (arXiv:1812.04948); the
synthesis is that of :mod:`gen_jax.networks.stylegan`, mapping, mixing and truncation those of
:mod:`gen_jax.networks.styled`, the critic and its growth those of ProGAN, the game is that of
:mod:`gen_jax.models.styles`:

    critic     E sp(-D(x)) + E sp(D(G(z))) + gamma / 2 E ||gradient of D(x) in x||^2                              (1)
    generator  E sp(-D(G(z)))                                                                                    (2)

It is trained at its full resolution, or in stages as ProGAN by :func:`gen_jax.models.progan.at_level`; the paper
begins with the second level.
"""

from functools import partial
from typing import Any

from gen_jax.checks import Amount, Count, Number, Share, plain
from gen_jax.fields import Fields, of_images
from gen_jax.models.critics import Critic, r1
from gen_jax.models.gan import GAN
from gen_jax.models.progan import growth
from gen_jax.models.styles import StyleGAN
from gen_jax.networks import progan, stylegan
from gen_jax.networks.styled import StyledGenerator
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Network


@plain
class StyleGANConfig:
    """A StyleGAN as plain data."""

    latent: Count = 512
    """Width of z."""
    style_width: Count = 512
    """Width of w."""
    mapping_layers: Count = 8
    """Dense layers from z to w."""
    widths: tuple[Count, ...] = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    """Channels of all levels, the smallest level first."""
    levels: Count = 9
    """How many of them there are by now: images have 2^(levels - 1) times the side of the first level."""
    fade_steps: Number = 0
    """Steps over which the last level is faded in; 0 has it at once."""
    mixing: Share = 0.9
    """Probability that a generated image has the styles of two latents while it trains."""
    r1: Amount = 10.0
    """Weight gamma of the penalty gamma / 2 ||gradient||^2 at real images."""
    group: Count = 4
    """Images that the critic's minibatch deviation compares."""

    def __post_init__(self) -> None:
        if self.levels > len(self.widths):
            raise ValueError(f"levels: expected at most the {len(self.widths)} that have widths, got {self.levels}")

    def build(self, fields: Fields) -> StyleGAN:
        """The game on images of any size."""
        shape, _ = of_images(fields)
        multiple = 2 ** (self.levels - 1)
        common: dict[str, Any] = {"channels": shape[2], "widths": self.widths[: self.levels]}

        def generate(size: tuple[int, int]) -> Network:
            return network(
                StyledGenerator,
                synthesis=partial(stylegan.Synthesis, size, width=self.style_width, **common),
                latent=self.latent,
                width=self.style_width,
                mapping_layers=self.mapping_layers,
                mixing=self.mixing,
            )

        criticise = partial(network, progan.Critic, group=self.group, smooth=stylegan.smooth, **common)
        generator, critic = (padded(make, shape[:2], multiple) for make in (generate, criticise))
        schedule = growth(shape[:2], self.levels, self.fade_steps) if self.levels > 1 else None
        critics = (Critic("critic", critic, penalties=(r1(self.r1),) if self.r1 else ()),)
        game = GAN(shape, 0, generator, critics, self.latent, schedule=schedule)
        return StyleGAN(game, 2 * self.levels)


REFERENCE = StyleGANConfig()
"""1024x1024 colour, its last level: generator 26,219,627 and critic 23,087,249 parameters, with the layers from and to
images of all levels. Adam 0.003, betas 0 and 0.99, batches of 32."""

SMALL = StyleGANConfig(latent=64, style_width=64, mapping_layers=2, widths=(64, 32, 16), levels=3, mixing=0.0, r1=1.0)
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
