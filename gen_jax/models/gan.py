"""The adversarial game: a generator against a critic, or several.

Goodfellow et al. 2014 (arXiv:1406.2661); labels in both: Mirza and Osindero 2014 (arXiv:1411.1784); losses and
penalties: :mod:`gen_jax.losses.adversarial`; penalties now and then: Karras et al. 2020 (arXiv:1912.04958). With the
loss L of a critic D, all is minimised:

(1) critic     L.critic(D(x), D(G(z))) + the penalties of every step,   z ~ N(0, I)
(2) penalty    of every n-th step: a turn of its own, one more step of the critic's optimizer
(3) generator  sum over critics of L.generator(D(G(z))), of relativistic losses L.generator(D(G(z)), D(x)),
               every n-th step of the critics'
(4) penalty    of the generator, every n-th step: a turn of its own

Statistics of batches, which some networks depend on, are kept apart in four ways: real and fake examples pass a critic
as two batches, never one; (1) updates that critic's running statistics alone and (3) the generator's alone; in either
turn the other networks normalise by their batch and forget it; samples are made by the running statistics, so that none
depends on those drawn with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.interpolate import slerp
from gen_jax.losses import adversarial
from gen_jax.losses.adversarial import AdversarialLoss, hinge, non_saturating, wasserstein
from gen_jax.models import collapse
from gen_jax.models.critics import LOSSES, Critic, GeneratorPenalty, Penalty, gradient_penalty, r1, r2
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation
from gen_jax.networks.dense_gan import DenseCritic, DenseGenerator
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

Path = Callable[[jax.Array, jax.Array, ArrayLike], jax.Array]  # start, end, weight -> between
Schedule = Callable[[Buffers, Batch, Any], tuple[Buffers, Batch]]  # and the step -> what its turns see
Goal = Callable[..., tuple[jax.Array, Aux]]
"""What a generator descends: a function of the game and of what every loss takes."""


def plain_goal(game: "GAN", *arguments: Any, **options: Any) -> tuple[jax.Array, Aux]:
    """(3)."""
    return game.generator_loss(*arguments, **options)


@dataclass(frozen=True)
class GAN:
    """The game of (1) to (4).

    Attributes:
      shape: of what it makes.
      classes: labels that all networks are told, 0 for none.
      generator: ``z [B, latent], label [B] or None -> [B, *shape]``.
      critics: one, usually.
      latent: width of ``z``.
      generator_every: steps of the critics from one of the generator's turns to the next.
      makes: the field of the examples.
      goal: what the generator descends, if not (3).
      penalties: of the generator.
      schedule: what the turns of a step see of buffers and batch, where that changes as they are trained.
    """

    shape: tuple[int, ...]
    classes: int
    generator: Network
    critics: tuple[Critic, ...]
    latent: int
    generator_every: int = 1
    makes: str = "image"
    goal: Goal = plain_goal
    penalties: tuple[GeneratorPenalty, ...] = ()
    schedule: Schedule | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Every critic with its penalties of now and then, then the generator and its own."""
        turns: list[Turn] = []
        for critic in self.critics:
            turns.append(Turn(critic.name, _named("critic_loss", partial(self.critic_loss, critic))))
            for penalty in critic.penalties:
                if penalty.every > 1:
                    loss = _named("penalty_loss", partial(self.penalty_loss, critic, penalty))
                    turns.append(Turn(critic.name, loss, every=penalty.every))
        goal = _named("generator_loss", partial(self.goal, self))
        turns.append(Turn("generator", goal, every=self.generator_every))
        for own in self.penalties:
            loss = _named("penalty_loss", partial(self.generator_penalty, own))
            turns.append(Turn("generator", loss, every=own.every))
        return tuple(turn._replace(loss=_scheduled(self.schedule, turn.loss)) for turn in turns)

    @property
    def network_evaluations(self) -> int:
        """One per sample."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of all players."""
        keys = jax.random.split(key, 1 + len(self.critics))
        made = {"generator": self.generator.init(keys[0])}
        made |= {critic.name: critic.network.init(own) for critic, own in zip(self.critics, keys[1:])}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def critic_loss(
        self,
        critic: Critic,
        params: Params,
        buffers: Buffers,
        batch: Batch,
        key: jax.Array,
        *,
        step: Any,
        ema: Any,
    ) -> tuple[jax.Array, Aux]:
        """(1); its metrics are the mean logits of real and of generated examples, and how far it tells them apart."""
        real, label = batch[self.makes], self._label(batch)
        fake, _ = self.generate(params, buffers, batch, key)
        apply, noise = partial(critic.network.apply, params[critic.name]), _noise(key)
        real_logits, statistics = apply(buffers[critic.name], real, label, train=True, key=noise[0])
        fake_logits, statistics = apply(statistics, fake, label, train=True, key=noise[1])
        statistics, figures = critic.adapt(statistics, real_logits)
        metrics = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean(), **figures}
        metrics["gap"] = collapse.gap(real_logits, fake_logits)
        loss = critic.loss.critic(real_logits, fake_logits)
        for index, penalty in enumerate(p for p in critic.penalties if p.every == 1):
            logits = self._logits(critic, params, buffers, batch, noise[0])
            found = penalty.of(logits, real, fake, jax.random.fold_in(key, index + 2))
            loss, metrics = loss + found, {**metrics, "penalty": metrics.get("penalty", 0.0) + found}
        return loss, Aux(metrics, {critic.name: statistics})

    def penalty_loss(
        self,
        critic: Critic,
        penalty: Penalty,
        params: Params,
        buffers: Buffers,
        batch: Batch,
        key: jax.Array,
        *,
        step: Any,
        ema: Any,
    ) -> tuple[jax.Array, Aux]:
        """(2)."""
        fake, _ = self.generate(params, buffers, batch, key)
        logits = self._logits(critic, params, buffers, batch, _noise(key)[0])
        return penalty.of(logits, batch[self.makes], fake, jax.random.fold_in(key, 2)), Aux({})

    def generator_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3), with latents of its own and, with classes, the labels of the batch."""
        fake, statistics = self.generate(params, buffers, batch, key)
        losses = []
        for critic in self.critics:
            apply = partial(critic.network.apply, params[critic.name], buffers[critic.name])
            judged = [(fake, _noise(key)[1])]
            if critic.loss.is_relativistic:
                judged.append((batch[self.makes], _noise(key)[0]))
            logits = [apply(x, self._label(batch), train=True, key=noise)[0] for x, noise in judged]
            losses.append(critic.loss.generator(*logits))
        figures = {"distinct": collapse.distinct(fake, batch[self.makes])}
        return sum(losses[1:], losses[0]), Aux(figures, {"generator": statistics})

    def warning(self, rows: Sequence[Mapping[str, float]]) -> str:
        """What the rows of a log say is wrong with its training, and what to try; nothing where all is well."""
        ceasing = [critic.name for critic in self.critics if critic.loss not in (hinge, wasserstein)]
        return collapse.warning(rows, ceasing)

    def generator_penalty(
        self,
        penalty: GeneratorPenalty,
        params: Params,
        buffers: Buffers,
        batch: Batch,
        key: jax.Array,
        *,
        step: Any,
        ema: Any,
    ) -> tuple[jax.Array, Aux]:
        """(4), with latents of its own."""
        count = max(1, round(penalty.share * len(batch[self.makes])))
        label = self._label(batch)
        apply = partial(self.generator.apply, params["generator"], buffers["generator"], method=penalty.of)
        told = None if label is None else label[:count]
        found, carried = apply(self.latents(key, count), told, key=_noise(key)[2], train=True)
        return penalty.weight * found, Aux({}, {"generator": carried})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` examples ``[n, *shape]``; with classes, of those of ``label [n]``."""
        return self.decode(params, buffers, self.latents(key, n), label=label)

    def latents(self, key: jax.Array, n: int) -> jax.Array:
        """``n`` draws of z: ``[n, latent]``."""
        return jax.random.normal(jax.random.fold_in(key, 0), (n, self.latent))

    def check_label(self, label: jax.Array | None) -> None:
        """A ValueError if latents are told labels that the networks do not take, or lack those that they do."""
        if (label is not None) != (self.classes > 0):
            expected = "a label per latent" if self.classes else "no labels"
            raise ValueError(f"expected {expected}, got {label}; conditional=True makes a generator that takes labels")

    def decode(self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The examples of latents ``z [n, latent]``, with classes given ``label [n]``."""
        self.check_label(label)
        return self.generator.apply(params["generator"], buffers["generator"], z, label)[0]

    def interpolate(
        self,
        params: Params,
        buffers: Buffers,
        start: jax.Array,
        end: jax.Array,
        weights: jax.Array,
        *,
        label: jax.Array | None = None,
        path: Path | None = None,
    ) -> jax.Array:
        """Examples between two latents.

        Args:
          params: of all players.
          buffers: of all players.
          start: latents ``[n, latent]``.
          end: latents ``[n, latent]``.
          weights: ``[k]``; 0 is ``start`` and 1 is ``end``.
          label: ``[n]``, with classes.
          path: of :mod:`gen_jax.interpolate`, ``slerp`` if not given.

        Returns:
          ``[n, k, *shape]``.
        """
        along = jax.vmap(path or slerp, in_axes=(None, None, 0), out_axes=1)(start, end, weights)
        repeated = None if label is None else jnp.repeat(label, len(weights))
        found = self.decode(params, buffers, along.reshape(-1, self.latent), label=repeated)
        return found.reshape(len(start), len(weights), *self.shape)

    def generate(self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        """As many examples as the batch has, as a turn makes them, and the generator's buffers behind them."""
        z = self.latents(key, len(batch[self.makes]))
        apply = partial(self.generator.apply, params["generator"], buffers["generator"], key=_noise(key)[2])
        return apply(z, self._label(batch), train=True)

    def _logits(
        self, critic: Critic, params: Params, buffers: Buffers, batch: Batch, key: jax.Array
    ) -> adversarial.Critic:
        # The key is that of augmentations: a penalty is on the gradient through them.
        apply = partial(critic.network.apply, params[critic.name], buffers[critic.name], key=key)
        return lambda x: apply(x, self._label(batch))[0]

    def _label(self, batch: Batch) -> jax.Array | None:
        return batch["label"] if self.classes else None


def _scheduled(schedule: Schedule | None, loss: Any) -> Any:
    if schedule is None:
        return loss

    def seen(
        params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        return loss(params, *schedule(buffers, batch, step), key, step=step, ema=ema)

    return _named(loss.__name__, seen)


def _noise(key: jax.Array) -> jax.Array:
    """Keys of what networks draw while they train: of a critic at real and at fake examples, and of the generator."""
    return jax.random.split(jax.random.fold_in(key, 1), 3)


def _named(name: str, loss: Any) -> Any:
    loss.__name__ = name  # by which a report knows it
    return loss


def played(
    fields: Fields,
    net: Adversaries,
    *,
    loss: AdversarialLoss = non_saturating,
    penalties: tuple[Penalty, ...] = (),
    augment: Augmentation = Augmentation(),
    generator_every: int = 1,
    conditional: bool = False,
) -> GAN:
    """The game of networks, a loss and what is done to examples, on data of these fields.

    Raises:
      ValueError: if labels are asked for and missing, or the networks take no such data.
    """
    name, field = made_of(fields)
    classes = known_classes(fields, conditional=conditional)
    pair = net.build(field.shape, classes, limit=field.kind.limit)
    critic = Critic("critic", augment.applied(pair.critic), loss, penalties, augment.adapt)
    return GAN(field.shape, classes, pair.generator, (critic,), net.latent, generator_every, makes=name)


@plain
class GANConfig:
    """A GAN of multilayer perceptrons, for images, points or features."""

    latent: Count = 64
    """Width of z."""
    hidden: tuple[Count, ...] = (256, 256)
    """Widths of the hidden layers, in generator and critic."""
    loss: Literal[
        "minimax", "non_saturating", "hinge", "least_squares", "wasserstein", "relativistic", "relativistic_average"
    ] = "non_saturating"
    """What generator and critic minimise."""
    r1: Amount = 0.0
    """Weight gamma of the penalty gamma / 2 ||gradient||^2 at real examples; 0 for none."""
    r2: Amount = 0.0
    """Weight of the same penalty at generated examples."""
    gradient_penalty: Amount = 0.0
    """Weight of the penalty (||gradient|| - 1)^2 between real and fake examples; 0 for none."""
    penalty_every: Count = 1
    """Steps from one penalty to the next; 1 makes it a part of the critic's loss."""
    generator_every: Count = 1
    """Turns of the critic for each of the generator."""
    conditional: bool = False
    """Tell generator and critic the label; needs labelled data."""

    def build(self, fields: Fields) -> GAN:
        """The game on images, or on an array of real numbers.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        name, field = made_of(fields)
        classes = known_classes(fields, conditional=self.conditional)
        options = {"shape": field.shape, "hidden": self.hidden, "classes": classes}
        generator = network(DenseGenerator, latent=self.latent, limit=field.kind.limit, **options)
        weights = {r1: self.r1, r2: self.r2, gradient_penalty: self.gradient_penalty}
        penalties = [penalty(weight, self.penalty_every) for penalty, weight in weights.items() if weight]
        critic = Critic("critic", network(DenseCritic, **options), LOSSES[self.loss], tuple(penalties))
        return GAN(field.shape, classes, generator, (critic,), self.latent, self.generator_every, makes=name)


SMALL = GANConfig(latent=16, hidden=(128, 128, 128), gradient_penalty=1.0, loss="wasserstein", generator_every=5)
"""Points in the plane in a minute on two CPU cores."""
