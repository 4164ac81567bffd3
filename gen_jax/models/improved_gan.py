"""A GAN with the improved techniques of 2016: each of them is a part that any game of a GAN takes.

Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498):

    minibatch discrimination, virtual batch normalisation   layers, of :mod:`gen_jax.nn.minibatch`
    one-sided label smoothing, feature matching             losses, (1) and (2) of :mod:`gen_jax.losses.improved`
    historical averaging                                    + weight ||theta - mean of theta at earlier turns||^2    (1)

(1) is added to the loss of every turn, for its player alone; the mean is carried with the player's buffers, constant in
the gradient, and 0 is added in a player's first turn. Their semi-supervised classifier is
:mod:`gen_jax.models.semi_supervised_gan`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Share, plain
from gen_jax.fields import Fields, made_of
from gen_jax.losses.improved import feature_matching, smoothed
from gen_jax.models.collapse import distinct
from gen_jax.models.critics import Critic as Judge
from gen_jax.models.gan import GAN, Goal, plain_goal
from gen_jax.networks.improved_gan import Critic, Generator
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Model, Params, Turn


def matching(features: Callable[..., jax.Array]) -> Goal:
    """A generator that matches the mean features of data, (2) of :mod:`gen_jax.losses.improved`, summed over critics.

    Args:
      features: of its critics' modules, ``x [B, ...] -> [B, F]``, as a method.
    """

    def generator_loss(
        game: GAN, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        real, (fake, statistics) = batch[game.makes], game.generate(params, buffers, batch, key)
        losses = []
        for critic in game.critics:
            own = partial(critic.network.apply, params[critic.name], buffers[critic.name], method=features)
            losses.append(feature_matching(own(real, train=True)[0], own(fake, train=True)[0]))
        figures = {"distinct": distinct(fake, real)}
        return sum(losses[1:], losses[0]), Aux(figures, {"generator": statistics})

    return generator_loss


@dataclass(frozen=True)
class Historical:
    """Any game, with (1) in every turn.

    Attributes:
      game: the plain one.
      weight: of (1).
    """

    game: Model
    weight: float

    @property
    def makes(self) -> str:
        """As the plain game."""
        return self.game.makes

    @property
    def given(self) -> tuple[str, ...]:
        """As the plain game."""
        return self.game.given

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those of the plain game, each with (1)."""
        return tuple(turn._replace(loss=_named(turn, partial(self.loss, turn))) for turn in self.game.turns)

    @property
    def network_evaluations(self) -> int:
        """As the plain game."""
        return self.game.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """As the plain game, with means of no turns yet beside every player's buffers."""
        params, buffers = self.game.init(key, batch)
        means = jax.tree.map(jnp.zeros_like, params)
        return params, {
            name: {"network": own, "mean": means[name], "turns": jnp.zeros(())} for name, own in buffers.items()
        }

    def loss(
        self, turn: Turn, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """That of a turn of the plain game, with (1)."""
        averages = None if ema is None else {**ema, "buffers": _plain(ema["buffers"])}
        loss, aux = turn.loss(params, _plain(buffers), batch, key, step=step, ema=averages)
        history, own = buffers[turn.player], params[turn.player]
        apart = jax.tree.map(lambda a, mean: jnp.square(a - mean).sum(), own, history["mean"])
        penalty = jnp.where(history["turns"] > 0, self.weight * sum(jax.tree.leaves(apart)), 0.0)
        turns = history["turns"] + 1
        mean = jax.tree.map(lambda mean, a: mean + (a - mean) / turns, history["mean"], own)
        carried = {name: {**buffers[name], "network": own} for name, own in aux.buffers.items()}
        kept = {**history, **carried.get(turn.player, {}), "mean": mean, "turns": turns}
        return loss + penalty, Aux({**aux.metrics, "history": penalty}, {**carried, turn.player: kept})

    def warning(self, rows: Sequence[Mapping[str, float]]) -> str:
        """As the plain game, where it has any."""
        return self.game.warning(rows) if hasattr(self.game, "warning") else ""

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, **given: jax.Array) -> jax.Array:
        """As the plain game."""
        return self.game.sample(params, _plain(buffers), key, n, **given)


def _plain(buffers: Buffers) -> Buffers:
    return {name: own["network"] for name, own in buffers.items()}


def _named(turn: Turn, loss: Any) -> Any:
    loss.__name__ = turn.loss.__name__  # by which a report knows it
    return loss


@plain
class ImprovedGANConfig:
    """A GAN of multilayer perceptrons with these techniques, for points, features or images."""

    latent: Count = 100
    """Width of z."""
    hidden: tuple[Count, ...] = (256, 256)
    """Widths of the generator's hidden layers."""
    references: Count = 64
    """Latents that its virtual batch normalisation is against."""
    critic_hidden: tuple[Count, ...] = (256, 256)
    """Widths of the critic's hidden layers, one or more; the last are its features."""
    kernels: Count = 100
    """Rows that minibatch discrimination makes of an example."""
    kernel_width: Count = 5
    """Numbers of each."""
    goal: Share = 0.9
    """What the critic is to say of data; 1 is no smoothing."""
    matching: Literal["logits", "features"] = "logits"
    """What the generator is judged by: the critic's logits, or features that are to have the data's mean."""
    history: Amount = 0.0
    """Weight of historical averaging; 0 for none."""

    def __post_init__(self) -> None:
        if not self.critic_hidden:
            raise ValueError("critic_hidden: expected one width or more, got none; the last are the critic's features")

    def build(self, fields: Fields) -> Historical:
        """The game on images, or on an array of real numbers."""
        name, field = made_of(fields)
        options = {"latent": self.latent, "hidden": self.hidden, "references": self.references}
        generator = network(Generator, shape=field.shape, limit=field.kind.limit, **options)
        kernels = {"kernels": self.kernels, "kernel_width": self.kernel_width}
        critic = network(Critic, shape=field.shape, hidden=self.critic_hidden, **kernels)
        judges = (Judge("critic", critic, smoothed(self.goal)),)
        goal = matching(Critic.features) if self.matching == "features" else plain_goal
        game = GAN(field.shape, 0, generator, judges, self.latent, makes=name, goal=goal)
        return Historical(game, self.history)


REFERENCE = ImprovedGANConfig()
"""Minibatch discrimination and smoothing as in the paper's CIFAR-10 network, in perceptrons of ours."""

SMALL = ImprovedGANConfig(latent=32, hidden=(128, 128), critic_hidden=(128, 128), kernels=32)
"""8x8 digits or points in minutes on two CPU cores."""
