"""Who judges in an adversarial game, by which loss, and under which penalties.

The losses and penalties themselves are those of :mod:`gen_jax.losses.adversarial`, the game that has them, with its
equations (1) to (4), is :mod:`gen_jax.models.gan`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from gen_jax.losses import adversarial
from gen_jax.losses.adversarial import AdversarialLoss, non_saturating
from gen_jax.networks.augmented import unadapted
from gen_jax.protocol import Network, Tree

LOSSES: dict[str, AdversarialLoss] = {
    "minimax": adversarial.minimax,
    "non_saturating": adversarial.non_saturating,
    "hinge": adversarial.hinge,
    "least_squares": adversarial.least_squares,
    "wasserstein": adversarial.wasserstein,
    "relativistic": adversarial.relativistic,
    "relativistic_average": adversarial.relativistic_average,
}


class Penalty(NamedTuple):
    """A penalty on a critic: in (1) where it is of every step, otherwise (2)."""

    of: Callable[[adversarial.Critic, jax.Array, jax.Array, jax.Array], jax.Array]
    """From a critic, real and fake examples ``[B, ...]`` and a key to a scalar."""
    every: int = 1
    """Steps from one to the next; it is not made larger for those between."""


class GeneratorPenalty(NamedTuple):
    """(4)."""

    of: Callable[..., Any]
    """A method of the generator's module, from ``z, label`` and ``key=`` to a scalar; it may carry buffers."""
    weight: float
    every: int = 1
    """Steps from one to the next; it is not made larger for those between."""
    share: float = 1.0
    """Of a batch that it is taken on."""


class Critic(NamedTuple):
    """Who tells real examples from fake ones."""

    name: str
    """Of the player."""
    network: Network
    """``x [B, ...], label [B] or None -> logits [B]``."""
    loss: AdversarialLoss = non_saturating
    penalties: tuple[Penalty, ...] = ()
    adapt: Callable[[Tree, jax.Array], tuple[Tree, Mapping[str, jax.Array]]] = unadapted
    """From its buffers and the logits of real examples to its next buffers, and figures to log; of critics that see
    augmented examples (:mod:`gen_jax.networks.augmented`)."""


def r1(gamma: float, every: int = 1) -> Penalty:
    """(6) of :mod:`gen_jax.losses.adversarial`."""
    return Penalty(lambda critic, real, fake, key: adversarial.r1(critic, real, gamma=gamma), every)


def r2(gamma: float, every: int = 1) -> Penalty:
    """(6) there, at generated examples."""
    return Penalty(lambda critic, real, fake, key: adversarial.r1(critic, fake, gamma=gamma), every)


def drift(weight: float, every: int = 1) -> Penalty:
    """(10) of :mod:`gen_jax.losses.adversarial`."""
    return Penalty(lambda critic, real, fake, key: adversarial.drift(critic, real, weight=weight), every)


def gradient_penalty(weight: float, every: int = 1) -> Penalty:
    """(7) of :mod:`gen_jax.losses.adversarial`."""
    return Penalty(partial(adversarial.gradient_penalty, weight=weight), every)
