"""The only train step in the library: the turns that are due, unrolled, over donated state."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gen_jax.programs import Program
from gen_jax.protocol import Aux, Batch, Buffers, Params, State, Tree, Turn, players
from gen_jax.train.ema import Average, update

Prepare = Callable[[Batch, jax.Array], Batch]  # (batch as stored, key) -> as models see it, augmented


class Report(NamedTuple):
    """What a step says of itself, float32 scalars by ``player/name``.

    ``vital`` holds losses and gradient norms: if one is not finite the run has diverged.
    """

    vital: dict[str, jax.Array]
    metrics: dict[str, jax.Array]


class Step(NamedTuple):
    """Programs ``(state, batch, share, due=...) -> (state, report)``; ``state`` is donated and ``due`` static.

    ``share``, 0 where it is left out, is the share of the run's seconds that have passed, which a decaying learning
    rate follows where the clock ends the run. ``many`` takes batches with a leading axis of steps, all with the same
    due turns, and returns reports with that axis: one dispatch for several steps.
    """

    one: Program
    many: Program


def init_state(
    init: Callable[[jax.Array, Batch], tuple[Params, Buffers]],
    turns: tuple[Turn, ...],
    optimizers: Mapping[str, optax.GradientTransformation],
    seed_key: jax.Array,
    batch: Batch,
) -> State:
    """The state before the first step; pure, to be jitted with the shardings it should have.

    Raises:
      ValueError: if a player who moves has no optimizer.
    """
    init_key, root_key = jax.random.split(seed_key)
    params, buffers = init(init_key, batch)
    missing = [name for name in players(turns) if name not in optimizers]
    if missing:
        raise ValueError(f"no optimizer for player {missing[0]!r}; got optimizers for {sorted(optimizers)}")
    opt = {name: optimizers[name].init(params[name]) for name in players(turns)}
    ema = jax.tree.map(jnp.copy, {"params": params, "buffers": buffers})  # a copy: the state is donated
    return State(jnp.zeros((), jnp.int32), root_key, params, buffers, opt, ema)


def make_step(
    turns: tuple[Turn, ...],
    optimizers: Mapping[str, optax.GradientTransformation],
    average: Average,
    *,
    prepare: Prepare = lambda batch, key: batch,
    accumulate: int = 1,
    dtype: jax.typing.DTypeLike = jnp.float32,
    out_shardings: tuple[Tree, Tree] | None = None,
) -> Step:
    """One training step of any game.

    Args:
      turns: the model's turns.
      optimizers: a transformation for every player who moves.
      average: how the averages follow; an average moves when its player does.
      prepare: from raw batch to model batch, run inside the step with a key of its own.
      accumulate: microbatches that a turn's gradient is averaged over; must divide the batch.
      dtype: type that networks compute in; parameters, optimizer and averages stay float32.
      out_shardings: of the state and of the report, so that the state stays where it was put.
    """

    def turn_gradient(turn: Turn, state: State, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux, Tree]:
        def objective(own: Tree, buffers: Buffers, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
            everyone = _cast({**state.params, turn.player: own}, dtype)
            loss, aux = turn.loss(everyone, buffers, batch, key, step=state.step, ema=state.ema)
            return loss.astype(jnp.float32), aux._replace(buffers={**buffers, **aux.buffers})

        gradient = jax.value_and_grad(objective, has_aux=True)
        if accumulate == 1:
            (loss, aux), grads = gradient(state.params[turn.player], state.buffers, batch, key)
            return loss, aux, grads

        def micro(buffers: Buffers, inputs: tuple[Batch, jax.Array]) -> tuple[Buffers, Tree]:
            (loss, aux), grads = gradient(state.params[turn.player], buffers, *inputs)
            return aux.buffers, (loss, dict(aux.metrics), grads)

        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(accumulate))
        buffers, stacked = jax.lax.scan(micro, state.buffers, (_microbatches(batch, accumulate), keys))
        loss, metrics, grads = jax.tree.map(lambda x: x.mean(axis=0), stacked)
        return loss, Aux(metrics, buffers), grads

    movers = {name: optax.with_extra_args_support(optimizer) for name, optimizer in optimizers.items()}

    def take(turn: Turn, state: State, batch: Batch, key: jax.Array, share: Any) -> tuple[State, Report]:
        player = turn.player
        loss, aux, grads = turn_gradient(turn, state, batch, key)
        updates, opt = movers[player].update(grads, state.opt[player], state.params[player], share=share)
        params = {**state.params, player: optax.apply_updates(state.params[player], updates)}
        vital = {_name(turn): loss, f"{player}/gradient_norm": optax.tree.norm(grads).astype(jnp.float32)}
        metrics = {f"{player}/{name}": jnp.asarray(x, jnp.float32) for name, x in aux.metrics.items()}
        rate = optax.tree.get(opt, "learning_rate")  # of our recipes, and of optax's injected hyperparameters
        if rate is not None and jax.tree.leaves(grads):
            metrics[f"{player}/learning_rate"] = jnp.asarray(rate, jnp.float32)
        moved = State(state.step, state.key, params, aux.buffers, {**state.opt, player: opt}, state.ema)
        return moved, Report(vital, metrics)

    def one(
        state: State, batch: Batch, share: jax.Array | float = 0.0, *, due: tuple[int, ...]
    ) -> tuple[State, Report]:
        key = jax.random.fold_in(state.key, state.step)
        batch = prepare(batch, jax.random.fold_in(key, len(turns)))
        vital: dict[str, jax.Array] = {}
        metrics: dict[str, jax.Array] = {}
        for index in due:
            state, report = take(turns[index], state, batch, jax.random.fold_in(key, index), share)
            vital |= report.vital
            metrics |= report.metrics
        moved = {turns[index].player for index in due}
        decay = average.decay(jax.tree.leaves(batch)[0].shape[0], state.step)
        ema = {
            "params": _follow(state.ema["params"], state.params, decay, moved),
            "buffers": _follow(state.ema["buffers"], state.buffers, decay, moved),
        }
        advanced = State(state.step + 1, state.key, state.params, state.buffers, state.opt, ema)
        return advanced, Report(vital, metrics)

    def many(
        state: State, batches: Batch, share: jax.Array | float = 0.0, *, due: tuple[int, ...]
    ) -> tuple[State, Report]:
        return jax.lax.scan(lambda state, batch: one(state, batch, share, due=due), state, batches)

    program = functools.partial(Program, static_argnames="due", donate_argnames="state", out_shardings=out_shardings)
    return Step(program(one), program(many))


def _name(turn: Turn) -> str:
    return f"{turn.player}/{turn.loss.__name__}"


def _follow(average: Tree, new: Tree, decay: jax.Array, moved: set[str]) -> Tree:
    return {name: update(average[name], new[name], decay) if name in moved else average[name] for name in average}


def _cast(tree: Tree, dtype: jax.typing.DTypeLike) -> Tree:
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _microbatches(batch: Batch, count: int) -> Batch:
    # Strided, so that every microbatch has its share of every device.
    def divide(x: jax.Array) -> jax.Array:
        if x.shape[0] % count:
            raise ValueError(f"a batch of {x.shape[0]} cannot be split in {count} microbatches; change either number")
        return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

    return {name: divide(x) for name, x in batch.items()}
