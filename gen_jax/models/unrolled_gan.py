"""Unrolled GAN: a generator that foresees how its critic will answer.

Metz, Poole, Pfau and Sohl-Dickstein 2017, "Unrolled generative adversarial networks" (arXiv:1611.02163). With a loss L
of the critic and f of the generator, of :mod:`gen_jax.losses.adversarial`,

    critic     minimises  L(theta_D, theta_G)                                                             (1)
    ahead      theta_0 = theta_D,   theta_k+1 = theta_k - rate dL(theta_k, theta_G) / dtheta_k            (2)
    generator  minimises  f(theta_K, theta_G)                                                             (3)

whose gradient is the plain one at theta_K and a second part, through (2): how the critic's answer depends on what the
generator does. A generator that gathers on one mode sees there that its critic will move against it. With no steps
(3) is the plain GAN's, with endless ones the generator meets the best critic. The critic itself takes one step of
(1), by whatever moves it; (2) are plain steps of descent, as in the paper's equations, where its code unrolls Adam from
the moments that it has then: those belong to the run, and no loss sees them. All steps of (2), and (3), are of the same
latents and the same data.
"""

from typing import Any, Literal

import jax

from gen_jax.checks import Count, Number, Positive, plain
from gen_jax.fields import Fields, made_of
from gen_jax.models.critics import LOSSES, Critic
from gen_jax.models.gan import GAN, Goal
from gen_jax.networks.dense_gan import DenseCritic, DenseGenerator
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Params, Tree


def unrolled(steps: int, rate: float) -> Goal:
    """(3) in the place of the generator's loss, with K = ``steps`` of (2)."""

    def generator_loss(
        game: GAN, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        foreseen = ahead(game, params, buffers, batch, key, steps=steps, rate=rate)
        return game.generator_loss({**params, **foreseen}, buffers, batch, key, step=step, ema=ema)

    return generator_loss


def ahead(
    game: GAN, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, steps: int, rate: float
) -> dict[str, Tree]:
    """The critics, by name, after (2)."""

    def descend(critics: dict[str, Tree], _: None) -> tuple[dict[str, Tree], None]:
        moved = {}
        for critic in game.critics:

            def loss(own: Tree, critic: Critic = critic) -> jax.Array:
                everyone = {**params, critic.name: own}
                return game.critic_loss(critic, everyone, buffers, batch, key, step=0, ema=None)[0]

            slope = jax.grad(loss)(critics[critic.name])
            moved[critic.name] = jax.tree.map(lambda a, g: a - rate * g, critics[critic.name], slope)
        return moved, None

    critics = {critic.name: params[critic.name] for critic in game.critics}
    return jax.lax.scan(descend, critics, length=steps)[0]


@plain
class UnrolledGANConfig:
    """An unrolled GAN of multilayer perceptrons, for points, features or images."""

    latent: Count = 256
    """Width of z."""
    hidden: tuple[Count, ...] = (128, 128)
    """Widths of the hidden layers, in generator and critic."""
    loss: Literal["minimax", "non_saturating"] = "non_saturating"
    """What generator and critic minimise."""
    unroll: Number = 5
    """Steps of the critic that the generator looks ahead; 0 is the plain GAN."""
    rate: Positive = 0.1
    """Size of these steps."""

    def build(self, fields: Fields) -> GAN:
        """The game on images, or on an array of real numbers."""
        name, field = made_of(fields)
        weights = {"activation": jax.numpy.tanh, "kernel_init": jax.nn.initializers.orthogonal(1.4)}
        common = {"shape": field.shape, "hidden": self.hidden, **weights}
        generator = network(DenseGenerator, latent=self.latent, limit=field.kind.limit, **common)
        critics = (Critic("critic", network(DenseCritic, **common), LOSSES[self.loss]),)
        goal = unrolled(self.unroll, self.rate)
        return GAN(field.shape, 0, generator, critics, self.latent, makes=name, goal=goal)


REFERENCE = UnrolledGANConfig()
"""Points in the plane, with the networks of the authors' notebook: generator 49,666, critic 17,025 parameters. Adam,
beta1 0.5, 1e-4 for the critic and 1e-3 for the generator, batches of 512."""

SMALL = UnrolledGANConfig(latent=16)
"""Points in the plane in a minute or two on two CPU cores."""
