"""The whole vocabulary: a generative model is a game of pure functions.

Parameters are a dict of *players*. Training is an ordered tuple of *turns*; in each turn one player descends one
loss. A VAE is a game of one player and one turn; a GAN has two players and two turns; a lazily applied gradient
penalty is one more turn with ``every=16``; a codec whose training ends before its prior begins is a turn with a
``stop``; a frozen network is a player who never moves.

A loss sees all players and is differentiated only in its own, so no model ever writes a stop-gradient to protect
another player. Everything that is carried from step to step but not differentiated (BatchNorm statistics, codebook
averages, the components of a mixture fitted by EM) lives in *buffers*; a loss returns them, updated, in its ``Aux``.

Conventions that every model keeps:

* a batch is a dict of named arrays, the fields of the data (:mod:`gen_jax.fields`); a sample is one of them, told
  others; images are float32 ``[B, H, W, C]`` in [-1, 1], labels int32 ``[B]``;
* losses are means over the batch, in float32; likelihoods are sums over an example's numbers, in nats;
* randomness comes only from the ``key`` argument, drawn over the whole batch: modules store no generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from gen_jax.fields import Fields

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
    nats, of each example as it is stored (of pixels, as 8-bit data), and ``log_prob_kind``: ``"exact"``; ``"lower
    bound"`` in expectation over the key; or ``"estimate"``, by a solver and random probes, of the law of the
    deterministic sampler, dequantised. A word after it says what else must be known to compare it (``"lower bound,
    binarised"``). Where a figure is made of others, ``evidence``, with the same arguments, gives them: a bound's terms,
    an estimate's standard error. A model that rests on players of earlier runs names them in ``begins``, one that is
    fitted to all data at once says ``whole_set = True``. One that can tell from its own figures that a run goes wrong
    has ``warning(rows)``, of the rows of ``metrics.jsonl`` so far: a line of what is wrong and what to try, or nothing;
    the first one is shown. Families add methods of their own (``encode``, ``decode``,
    ``denoise``, ``interpolate``).
    """

    @property
    def makes(self) -> str:
        """The field that samples are of."""
        ...

    @property
    def given(self) -> tuple[str, ...]:
        """The fields that a sample may be told, as keyword arguments of :meth:`sample`."""
        ...

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of one step, in order."""
        ...

    @property
    def network_evaluations(self) -> int:
        """Network evaluations per sample."""
        ...

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of every player; ``batch`` is data to start from, for models that need it."""
        ...

    @property
    def sample(self) -> Callable[..., jax.Array]:
        """``(params, buffers, key, n, **given)`` to ``n`` of the field it makes, ``[n, ...]`` as a model sees them.

        Each is independent of its batch-mates. What is given has ``n`` as its first axis, too. A model computes with
        what it is told: who asks for samples (:meth:`gen_jax.run.Run.sample`) also draws what was not said.
        """
        ...


@runtime_checkable
class Configuration(Protocol):
    """Plain data that builds a model for data of these fields; it becomes flags, and a run's ``config.json``."""

    def build(self, fields: Fields) -> Any:
        """The game; a ValueError for data that it is not of, or settings that cannot be built."""
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


def turns_taken(turns: tuple[Turn, ...], player: str, steps: int) -> int:
    """How many turns a player takes in so many steps."""

    def taken(turn: Turn) -> int:
        stop = steps if turn.stop is None else min(steps, turn.stop)
        return max(0, -(-stop // turn.every) - -(-turn.start // turn.every))

    return sum(taken(turn) for turn in turns if turn.player == player)
