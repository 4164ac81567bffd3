"""Training in stages: a sequence of runs, each in its own directory, each beginning with players of the one before.

A codec and then its prior, a teacher and its students, a network that grows with its images: each stage is a run like
any other, with its own model, batch, optimizers and schedule, and the same command goes on wherever the sequence was
stopped. A budget in seconds is dealt out by the stages' shares.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from gen_jax.begin import Beginning, From
from gen_jax.fitting import Examples, fit
from gen_jax.protocol import Configuration
from gen_jax.run import Run
from gen_jax.settings import STAGES, ConfigError
from gen_jax.train.files import write_atomically
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import Optimizer
from gen_jax.train.room import writing


@dataclass(frozen=True)
class Stage:
    """One run of a sequence."""

    name: str
    """Of its directory, within that of the sequence."""
    configuration: Configuration
    training: Training = Training()
    optimizers: Optimizer | Mapping[str, Optimizer] | None = None
    keeps: Mapping[str, Beginning] = field(default_factory=dict)
    """What its players begin with: a :class:`~gen_jax.begin.From` that names no run is of the stage before."""
    share: float = 1.0
    """Of a budget in seconds, in proportion to those of the other stages."""
    image_size: int | None = None
    """Side that images are resized to, where the stages differ in it."""


def fit_stages(
    stages: Sequence[Stage],
    examples: Examples | tuple[Examples, ...],
    *,
    directory: str | Path | None = None,
    seconds: float = 0.0,
    title: str = "",
    **options: Any,
) -> Run:
    """Trains one stage after the other; the run of the last one.

    Args:
      stages: in their order.
      examples: as for :func:`gen_jax.fit`.
      directory: where the stages' directories are; None keeps all in memory.
      seconds: of training in all, dealt out by the stages' shares; 0 leaves every stage its own steps or seconds.
      title: what the progress calls the sequence.
      **options: of :func:`gen_jax.fit`, for every stage.

    Raises:
      ConfigError: if there are no stages, two have the same name, or the first one keeps a player of a stage before it.
    """
    _check(stages)
    if directory is not None and jax.process_index() == 0:
        with writing(Path(directory)):
            Path(directory).mkdir(parents=True, exist_ok=True)
        names = json.dumps({"stages": [stage.name for stage in stages]}, indent=1)
        write_atomically(Path(directory) / STAGES, names + "\n")
    whole, run = sum(stage.share for stage in stages), None
    for stage in stages:
        training = stage.training
        if seconds:
            training = replace(training, seconds=seconds * stage.share / whole)
        size = {} if stage.image_size is None else {"image_size": stage.image_size}
        run = fit(
            stage.configuration,
            examples,
            training=training,
            optimizers=stage.optimizers,
            directory=None if directory is None else Path(directory) / stage.name,
            begin={name: _source(kept, run) for name, kept in stage.keeps.items()},
            title=f"{title} {stage.name}".strip(),
            **{**options, **size},
        )
    assert run is not None
    return run


def _source(kept: Beginning, before: Run | None) -> Beginning:
    return kept._replace(run=before) if isinstance(kept, From) and kept.run is None else kept


def _check(stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) < len(names):
        raise ConfigError(f"expected one stage or more, each with a name of its own, got {names or 'none'}")
    for player, kept in stages[0].keeps.items():
        if isinstance(kept, From) and kept.run is None:
            raise ConfigError(f"{names[0]}: {player} comes from the stage before, and this is the first; give its run")
    if any(stage.share <= 0 for stage in stages):
        raise ConfigError(f"expected shares above 0, got {[stage.share for stage in stages]}")
