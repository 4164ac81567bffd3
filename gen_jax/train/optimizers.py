"""Optimizers as plain data, one per player; they belong to the run, not to the model.

With ``c`` the turns that a player has taken and ``n`` all that it will take in its run, the learning rate is

(1) rate = learning_rate min(1, c / warmup) f(s),  s = (c - warmup) / (n - warmup)
(2) f(s) = 1;  (1 + cos(pi s)) / 2;  1 - s;  factor^(how many of the milestones s has passed)

A player takes no turn on some steps and several on others (a lazy penalty, a stage that begins late); what is counted
are its turns, so that (2) ends with the run whoever takes them. Where the clock ends the run, ``s`` is the share of the
seconds that have passed.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from gen_jax.checks import Amount, Fraction, Number, Positive, Share, plain

Decay: TypeAlias = Literal["constant", "cosine", "linear", "steps"]


@plain
class Recipe:
    """What every optimizer as plain data has: a learning rate over the run, and limits of gradients and weights."""

    learning_rate: Amount = 2e-4
    """Step size after warm-up."""
    warmup_steps: Number = 0
    """Turns over which the learning rate rises linearly from 0."""
    decay: Decay = "constant"
    """Shape of the learning rate after warm-up; cosine and linear end at 0 with the run."""
    milestones: tuple[Share, ...] = ()
    """With decay 'steps': shares of the run at which the rate is multiplied by factor."""
    factor: Amount = 0.1
    """With decay 'steps': see milestones."""
    clip_norm: Amount = 0.0
    """Largest global norm of a player's gradient; 0 does not clip."""
    clip_weights: Amount = 0.0
    """Largest magnitude of a player's weights, to which they are cut after every turn; 0 does not clip."""

    def __post_init__(self) -> None:
        if bool(self.milestones) != (self.decay == "steps"):
            raise ValueError(
                f"milestones: expected them with decay='steps' and no other, got {self.milestones} with {self.decay!r}"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones: expected shares of the run in their order, got {self.milestones}")

    def build(self, turns: int) -> optax.GradientTransformationExtraArgs:
        """The transformation for a player of so many turns, 0 where the clock ends the run."""
        clip = [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        cut = [_cut(self.clip_weights)] if self.clip_weights else []
        return optax.with_extra_args_support(optax.chain(*clip, *self._scaled(), _descend(self, turns), *cut))

    def _scaled(self) -> list[optax.GradientTransformation]:
        """From a gradient to the step for a rate of 1; here the gradient itself."""
        return []


@plain
class Adam(Recipe):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) with warm-up, decay and clipping."""

    b1: Fraction = 0.9
    """Decay of the first moment per turn."""
    b2: Fraction = 0.999
    """Decay of the second moment per turn."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    weight_decay: Amount = 0.0
    """Decoupled weight decay; 0 is Adam, otherwise AdamW."""

    def _scaled(self) -> list[optax.GradientTransformation]:
        decay = [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        return [optax.scale_by_adam(self.b1, self.b2, self.eps), *decay]


@plain
class RMSProp(Recipe):
    """RMSProp (Tieleman and Hinton 2012), as WGAN has it (Arjovsky et al. 2017, arXiv:1701.07875)."""

    learning_rate: Amount = 5e-5
    """Step size after warm-up."""
    smoothing: Fraction = 0.99
    """Decay of the second moment per turn."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    momentum: Fraction = 0.0
    """Share of the last step that is taken again."""

    def _scaled(self) -> list[optax.GradientTransformation]:
        # eps beside the root and not under it: with no gradient yet, the step is as long as Adam's.
        rms = optax.scale_by_rms(decay=self.smoothing, eps=self.eps, eps_in_sqrt=False)
        return [rms, *([optax.trace(decay=self.momentum)] if self.momentum else [])]


RECIPES: tuple[type[Recipe], ...] = (Adam, RMSProp)
Optimizer: TypeAlias = Recipe | optax.GradientTransformation
"""What may move a player: a recipe as plain data, or any other of optax's."""


class Rate(NamedTuple):
    """What a recipe carries of its schedule."""

    turns: jax.Array
    """That were taken."""
    learning_rate: jax.Array
    """Of the last turn."""


def learning_rate(recipe: Recipe, count: jax.Array | int, turns: int, share: jax.Array | float) -> jax.Array:
    """(1) of the turn after ``count``, float32; ``share`` is that of the seconds where ``turns`` is 0."""
    c = jnp.asarray(count, jnp.float32)
    done = c - recipe.warmup_steps
    s = jnp.clip(done / max(turns - recipe.warmup_steps, 1) if turns else jnp.asarray(share, jnp.float32), 0.0, 1.0)
    risen = jnp.minimum(1.0, c / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return jnp.asarray(recipe.learning_rate * risen * _shape(recipe, s), jnp.float32)


def _shape(recipe: Recipe, s: jax.Array) -> jax.Array | float:
    if recipe.decay == "cosine":
        return 0.5 * (1 + jnp.cos(jnp.pi * s))
    if recipe.decay == "linear":
        return 1 - s
    if recipe.decay == "steps":
        return recipe.factor ** jnp.sum(s >= jnp.asarray(recipe.milestones, jnp.float32))
    return 1.0


def _descend(recipe: Recipe, turns: int) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Rate:
        return Rate(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

    def update(
        updates: Any, state: Rate, params: Any = None, *, share: jax.Array | float = 0.0, **_: Any
    ) -> tuple[Any, Rate]:
        rate = learning_rate(recipe, state.turns, turns, share)
        return jax.tree.map(lambda u: -rate * u, updates), Rate(state.turns + 1, rate)

    return optax.GradientTransformationExtraArgs(init, update)


def _cut(largest: float) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -largest, largest) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
