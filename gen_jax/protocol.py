"""The whole vocabulary: a generative model is a game of pure functions.

Parameters are a dict of *players*. Training is an ordered tuple of *turns*; in each turn one player descends one
loss. A VAE is a game of one player and one turn; a GAN has two players and two turns; a lazily applied gradient
penalty is one more turn with ``every=16``; a codec whose training ends before its prior begins is a turn with a
``stop``; a frozen network is a player who never moves.

A loss sees all players and is differentiated only in its own, so no model ever writes a stop-gradient to protect
another player. Everything that is carried from step to step but not differentiated (BatchNorm statistics, codebook
averages, the components of a mixture fitted by EM) lives in *buffers*; a loss returns them, updated, in its ``Aux``.

Conventions that every model keeps:

* images are float32 ``[B, H, W, C]`` in [-1, 1]; labels are int32 ``[B]``; a batch is a dict with ``image`` and,
  where the data has labels, ``label``;
* losses are means over the batch, in float32; likelihoods are sums over pixels, in nats;
* randomness comes only from the ``key`` argument, drawn over the whole batch: modules store no generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Tree = Any  # a pytree of arrays; for parameters and buffers: nested dicts with string keys
Params = dict[str, Tree]  # by player
Buffers = dict[str, Tree]  # by player
Batch = Mapping[str, jax.Array]


class Network(NamedTuple):
    """A pair of pure functions.

    ``init(key) -> (params, buffers)`` makes nested dicts of arrays.
    ``apply(params, buffers, *inputs, key=None, train=False, method=None) -> (output, buffers)`` runs the network;
    the returned buffers equal the given ones unless ``train``. ``method`` names another function of the wrapped
    module than its ``__call__``, as the function itself.
    """

    init: Callable[[jax.Array], tuple[Tree, Tree]]
    apply: Callable[..., tuple[Any, Tree]]


class Aux(NamedTuple):
    """What a loss returns beside its scalar: figures to log, and the buffers of the players whose buffers changed."""

    metrics: Mapping[str, jax.Array]
    buffers: Buffers = {}


class Turn(NamedTuple):
    """One player descends one loss on every step ``s`` with ``start <= s < stop`` and ``s % every == 0``.

    ``loss(params, buffers, batch, key, *, step, ema) -> (scalar, Aux)``. ``params`` and ``buffers`` hold all players;
    the gradient is taken in ``params[player]`` alone. ``ema`` is ``{"params": ..., "buffers": ...}``, the averages of
    all players. Several turns may belong to one player.
    """

    player: str
    loss: Callable[..., tuple[jax.Array, Aux]]
    every: int = 1
    start: int = 0
    stop: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether this turn is taken at ``step``."""
        return step % self.every == 0 and step >= self.start and (self.stop is None or step < self.stop)


@runtime_checkable
class Model(Protocol):
    """A frozen dataclass of networks and hyperparameters; all its methods are pure.

    A model whose likelihood is known adds ``log_prob(params, buffers, key, batch) -> [B]``: the log-probability, in
    nats, of each image as 8-bit data, and ``log_prob_kind``: ``"exact"``; ``"lower bound"`` in expectation over the
    key; or ``"estimate"``, by a solver and random probes, of the law of the deterministic sampler, dequantised. A word
    after it says what else must be known to compare it (``"lower bound, binarised"``). Where a figure is made of
    others, ``evidence``, with the same arguments, gives them: a bound's terms, an estimate's standard error. Families
    add methods of their own (``encode``, ``decode``, ``denoise``, ``interpolate``).
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C of one image."""
        ...

    @property
    def classes(self) -> int:
        """0: without labels."""
        ...

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of one step, in order."""
        ...

    @property
    def network_evaluations(self) -> int:
        """Network evaluations per generated image."""
        ...

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of every player; ``batch`` is data to start from, for models that need it."""
        ...

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images, float32 ``[n, H, W, C]`` in [-1, 1]; each independent of its batch-mates.

        ``label`` is int32 ``[n]``; where a model has classes and none is given, labels are drawn uniformly.
        """
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Everything that a run carries: what is here is saved, and nothing else is needed to go on.

    ``key`` is the root key and never changes: the key of a turn is folded from it, the step and the turn's index.
    ``ema`` is ``{"params": ..., "buffers": ...}``.
    """

    step: jax.Array
    key: jax.Array
    params: Params
    buffers: Buffers
    opt: dict[str, Tree]
    ema: dict[str, Tree]


def due(turns: tuple[Turn, ...], step: int) -> tuple[int, ...]:
    """Indices of the turns that are taken at ``step``, in order."""
    return tuple(i for i, turn in enumerate(turns) if turn.is_due(step))


def players(turns: tuple[Turn, ...]) -> tuple[str, ...]:
    """The players who ever move, in the order of their first turn."""
    return tuple(dict.fromkeys(turn.player for turn in turns))
