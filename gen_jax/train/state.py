"""The state before the first step: its shapes and places, and what it begins with."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gen_jax.programs import Program
from gen_jax.protocol import Model, State, Tree
from gen_jax.train import shard
from gen_jax.train.step import Prepare, init_state


class BeginError(ValueError):
    """Players cannot begin as they are asked to."""


class Batches(Protocol):
    """Data as the loop needs it: the batch of a step is a function of the step."""

    @property
    def batch_size(self) -> int:
        """Examples a step, over all processes."""
        ...

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """This process's part of the batch of one step."""
        ...

    def iterate(self, start: int) -> Iterator[Mapping[str, np.ndarray]]:
        """The batches of ``start``, ``start + 1``, ... without end."""
        ...


def abstract_state(
    model: Model,
    batches: Batches,
    optimizers: Mapping[str, optax.GradientTransformation],
    prepare: Prepare,
    mesh: Mesh,
    *,
    fsdp: bool,
) -> tuple[Any, Any]:
    """The state's shapes, types and shardings, and the shardings alone."""
    raw = {
        name: jax.ShapeDtypeStruct((batches.batch_size, *x.shape[1:]), x.dtype) for name, x in batches.batch(0).items()
    }

    def make(key: jax.Array, raw: Any) -> State:
        return init_state(model.init, model.turns, optimizers, key, prepare(raw, key))

    abstract = jax.eval_shape(make, jax.eval_shape(jax.random.key, 0), raw)
    shardings = shard.state_shardings(abstract, mesh, fsdp=fsdp)
    template = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), abstract, shardings
    )
    return template, shardings


def initial_state(
    model: Model,
    batches: Batches,
    optimizers: Mapping[str, optax.GradientTransformation],
    prepare: Prepare,
    mesh: Mesh,
    shardings: Any,
    *,
    seed: int,
    begin: Mapping[str, tuple[Tree, Tree]],
) -> State:
    """The state before the first step, on its devices, with the players that begin as ``begin`` has them."""

    def make(key: jax.Array, raw: Any, begin: Any) -> State:
        def init(key: jax.Array, batch: Any) -> tuple[Tree, Tree]:
            params, buffers = model.init(key, batch)
            return (
                {name: overlaid(own, begin[name][0], name) if name in begin else own for name, own in params.items()},
                {name: overlaid(own, begin[name][1], name) if name in begin else own for name, own in buffers.items()},
            )

        return init_state(init, model.turns, optimizers, key, prepare(raw, key))

    first = shard.place(batches.batch(0), mesh)
    return Program(make, out_shardings=shardings)(jax.random.key(seed), first, dict(begin))


def check_begin(template: State, begin: Mapping[str, tuple[Tree, Tree]]) -> None:
    """A BeginError, if someone is to begin who is no player of this model."""
    unknown = sorted(set(begin) - set(template.params))
    if unknown:
        raise BeginError(f"expected players of this model, {', '.join(template.params)}, to begin, got {unknown[0]!r}")


def overlaid(new: Tree, known: Tree, name: str) -> Tree:
    """``new`` with the leaves that ``known`` has at the same places; what is not known stays as it was made.

    Raises:
      BeginError: for what is known and has no place in ``new``, or one of another shape.
    """
    if not isinstance(new, dict) or not isinstance(known, dict):
        if isinstance(new, dict) or isinstance(known, dict) or new.shape != known.shape:
            raise BeginError(f"{name} is {_shape(new)} here and {_shape(known)} in what it should begin with")
        return known
    for part in known:
        if part not in new:
            raise BeginError(f"{name}.{part} is in what it should begin with and has no place here")
    return {part: overlaid(own, known[part], f"{name}.{part}") if part in known else own for part, own in new.items()}


def not_finite(state: State) -> tuple[str, str] | None:
    """The first leaf of a state that has a number which is not finite, by name, and its player; None if there is none.

    The numbers are read where the host can see them, each by one process: on a CPU this copies nothing and reads 10
    gigabytes a second, elsewhere it is one more copy to the host beside that of the save. A compiled reduction would
    take a second to compile, which is more than all checks of a run take; a flag in the step would read the whole state
    at every step.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    bad = next((index for index, (_, leaf) in enumerate(leaves) if not _finite(leaf)), len(leaves))
    if jax.process_count() > 1:  # each reads its own part of what is split, and all must stop for the same reason
        bad = int(multihost_utils.process_allgather(np.asarray(bad)).min())
    if bad == len(leaves):
        return None
    name = jax.tree_util.keystr(leaves[bad][0], simple=True, separator=".")
    within = name.split(".")
    return name, within[2] if within[0] == "ema" else within[1]


def _finite(leaf: jax.Array) -> bool:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return all(np.isfinite(np.asarray(s.data)).all() for s in leaf.addressable_shards if s.replica_id == 0)


def _shape(tree: Tree) -> str:
    return "several arrays" if isinstance(tree, dict) else f"of shape {list(tree.shape)}"
