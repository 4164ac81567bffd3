"""ProGAN: a GAN that grows, from small images to large ones.

Karras et al. 2018, "Progressive growing of GANs for improved quality, stability, and variation" (arXiv:1710.10196); the
losses are (5), (7) and (10) of :mod:`gen_jax.losses.adversarial`, the networks those of
:mod:`gen_jax.networks.progan`, the game is that of :mod:`gen_jax.models.gan`:

    critic     E D(G(z)) - E D(x) + 10 E (||gradient|| - 1)^2 + 0.001 E D(x)^2                                   (1)
    generator  -E D(G(z))                                                                                        (2)
    fade       alpha = min(1, step / fade_steps), in both networks and in the data                              (3)
    data       x <- (1 - alpha) up(down(x)) + alpha x                                                            (4)

Every level is a stage: a run of its own, on images of its own side, with a configuration of one level more, that begins
with both players of the run before (``gen_jax.Stage``, ``gen_jax.From(raw=True)``); new are the layers of the last
level, which is faded in, and the optimizers. :func:`at_level` makes the configurations.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Number, plain
from gen_jax.fields import Fields, of_images
from gen_jax.losses.adversarial import wasserstein
from gen_jax.models.critics import Critic, drift, gradient_penalty
from gen_jax.models.gan import GAN, Schedule
from gen_jax.networks import progan as nets
from gen_jax.nn.fit import Size, padded
from gen_jax.nn.functional import network
from gen_jax.nn.resample import mean_pixels, repeat_pixels
from gen_jax.protocol import Batch, Buffers, Network


def growth(size: Size, levels: int, fade_steps: int, makes: str = "image") -> Schedule:
    """(3) and (4): from the buffers, the batch and the step to those with the last level's fade."""
    last = str(levels - 1)

    def halve(params: Any, buffers: Any, x: jax.Array, **_: Any) -> tuple[jax.Array, Any]:
        return repeat_pixels(mean_pixels(x, 2), 2), buffers

    # Where sides cannot be halved, the border is that which the networks see.
    coarse = padded(lambda size: Network(lambda key: ({}, {}), halve), size, 2 ** (levels - 1))

    def schedule(buffers: Buffers, batch: Batch, step: Any) -> tuple[Buffers, Batch]:
        alpha = jnp.clip(jnp.asarray(step, jnp.float32) / fade_steps, 0.0, 1.0) if fade_steps else jnp.ones(())
        x, _ = coarse.apply({}, {}, batch[makes])
        grown = {player: _with_fade(own, last, alpha) for player, own in buffers.items()}
        return grown, {**batch, makes: x + alpha * (batch[makes] - x)}

    return schedule


def _with_fade(buffers: Any, level: str, alpha: jax.Array) -> Any:
    """The fade lies beside a critic's layers, and within a generator of styles in its synthesis."""
    if "fade" in buffers:
        return {**buffers, "fade": {**buffers["fade"], level: alpha}}
    return {**buffers, "synthesis": _with_fade(buffers["synthesis"], level, alpha)}


@plain
class ProGANConfig:
    """One level of a ProGAN as plain data."""

    latent: Count = 512
    """Width of z."""
    widths: tuple[Count, ...] = (512, 512, 512, 512, 256, 128, 64, 32, 16)
    """Channels of all levels, the smallest level first."""
    levels: Count = 9
    """How many of them there are by now: images have 2^(levels - 1) times the side of the first level."""
    fade_steps: Number = 0
    """Steps over which the last level is faded in; 0 has it at once."""
    gradient_penalty: Amount = 10.0
    """Weight of (||gradient|| - 1)^2 between real and generated images."""
    drift: Amount = 0.001
    """Weight of the squared logits of real images."""
    group: Count = 4
    """Images that the critic's minibatch deviation compares."""

    def __post_init__(self) -> None:
        if self.levels > len(self.widths):
            raise ValueError(f"levels: expected at most the {len(self.widths)} that have widths, got {self.levels}")

    def build(self, fields: Fields) -> GAN:
        """The game on images of any size."""
        shape, _ = of_images(fields)
        widths, multiple = self.widths[: self.levels], 2 ** (self.levels - 1)
        common: dict[str, Any] = {"channels": shape[2], "widths": widths}
        generator = padded(partial(network, nets.Generator, latent=self.latent, **common), shape[:2], multiple)
        critic = padded(partial(network, nets.Critic, group=self.group, **common), shape[:2], multiple)
        penalties = (gradient_penalty(self.gradient_penalty), drift(self.drift))
        critics = (Critic("critic", critic, wasserstein, penalties),)
        schedule = growth(shape[:2], self.levels, self.fade_steps) if self.levels > 1 else None
        return GAN(shape, 0, generator, critics, self.latent, schedule=schedule)


def at_level(configuration: Any, level: int, fade_steps: int) -> Any:
    """A configuration with that many levels, of which the last one is faded in; the first one has nothing to fade."""
    return replace(configuration, levels=level, fade_steps=fade_steps if level > 1 else 0)


REFERENCE = ProGANConfig()
"""1024x1024 colour, its last level: generator 23,079,115 and critic 23,087,249 parameters, with the layers from and to
images of all levels, 23,071,507 and 23,077,137 with those of the last. Adam 0.001, betas 0 and 0.99."""

SMALL = ProGANConfig(latent=64, widths=(64, 32, 16), levels=3)
"""28x28 Fashion-MNIST by way of 7x7 and 14x14 in minutes on two CPU cores."""
