"""What a run begins with: players of earlier runs, from memory or from disk.

Fine-tuning, teachers, codecs that rest while a prior learns, and networks that grow all begin so. What only the new
model has keeps its own beginning; what only the earlier one has, or has in another shape, is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from gen_jax.protocol import Tree
from gen_jax.run import Run, load
from gen_jax.settings import ConfigError
from gen_jax.train import checkpoint


class From(NamedTuple):
    """A player of an earlier run."""

    player: str = ""
    """Which; empty: the one of the same name, or the only one there is."""
    raw: bool = False
    """Its last weights, to go on with; otherwise its average, to rest on or to learn from."""
    run: Run | str | Path | None = None
    """The run, or its directory; None within a :class:`~gen_jax.stages.Stage`: that of the stage before."""

    @classmethod
    def parse(cls, text: str) -> "From":
        """From ``DIRECTORY``, ``DIRECTORY:PLAYER`` or ``DIRECTORY:PLAYER:raw``, as the command line has it."""
        directory, *rest = text.split(":")
        if len(rest) > 2 or (len(rest) == 2 and rest[1] != "raw"):
            raise ConfigError(f"expected DIRECTORY, DIRECTORY:PLAYER or DIRECTORY:PLAYER:raw, got {text!r}")
        return cls(rest[0] if rest else "", len(rest) == 2, directory)


Beginning: TypeAlias = Run | str | Path | From | tuple[Tree, Tree]
"""An earlier run or its directory, a player of it, or parameters and buffers as they are."""


class Begun(NamedTuple):
    """Parameters and buffers of one player, and what ``config.json`` says of them."""

    params: Tree
    buffers: Tree
    described: dict[str, Any]


def begun(begin: Mapping[str, Beginning]) -> dict[str, Begun]:
    """By player, what a run begins with.

    Raises:
      ConfigError: if an earlier run has no such player, or is not there.
      CheckpointError: if it has no good checkpoint.
    """
    return {player: _one(player, beginning) for player, beginning in begin.items()}


def player(run: Run, name: str = "", *, like: str = "", raw: bool = False) -> tuple[str, Tree, Tree]:
    """Name, parameters and buffers of a player of a run; without a name, the one called ``like`` or the only one.

    Raises:
      ConfigError: if there is none, or its last weights are asked for and were not kept.
    """
    known = list(run.params)
    chosen = name or (like if like in known else known[0] if len(known) == 1 else "")
    where = run.directory or type(run.model).__name__
    if chosen not in known:
        raise ConfigError(f"expected a player of {where}, which has {', '.join(known)}, got {name or like!r}; name one")
    if not raw:
        return chosen, run.params[chosen], run.buffers[chosen]
    if run.result is not None:
        return chosen, run.result.state.params[chosen], run.result.state.buffers[chosen]
    if run.directory is None:
        raise ConfigError(f"the last weights of {where} were not kept; take its average, or give its directory")
    last = load(run.directory, raw=True)
    return chosen, last.params[chosen], last.buffers[chosen]


def _one(name: str, beginning: Beginning) -> Begun:
    if isinstance(beginning, tuple) and not isinstance(beginning, From):
        params, buffers = beginning
        return _described(params, buffers, {"run": "weights given in Python"})
    source = beginning if isinstance(beginning, From) else From(run=beginning)
    if source.run is None:
        raise ConfigError(f"{name}: expected a run to begin with, got none; give its directory")
    run = source.run if isinstance(source.run, Run) else load(source.run)
    chosen, params, buffers = player(run, source.player, like=name, raw=source.raw)
    facts = {"run": str(run.directory or "in memory"), "step": run.step, "player": chosen, "raw": source.raw}
    return _described(params, buffers, facts)


def _described(params: Tree, buffers: Tree, facts: dict[str, Any]) -> Begun:
    arrays = checkpoint.flatten({"params": params, "buffers": buffers})
    host = {name: np.asarray(jax.device_get(x)) for name, x in arrays.items()}
    return Begun(params, buffers, {**facts, "sha256": checkpoint.state_sha256(host)})
