"""Training a model: data in, a run out.

A run's directory holds ``config.json`` (model, data, training, optimizers, what it began with, versions, devices),
``metrics.jsonl``, ``samples/`` and ``checkpoints/``. The same call on the same directory goes on where it stopped;
another configuration on it is refused, by ``config.json`` and by what every checkpoint says of its settings.
"""

import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from gen_jax import data
from gen_jax.begin import Beginning, begun
from gen_jax.fields import PIXELS, Fields
from gen_jax.protocol import Configuration, Model, State, players, turns_taken
from gen_jax.run import Run
from gen_jax.settings import ConfigError, claimed, describe, known_settings, record
from gen_jax.train import loop, shard, watch
from gen_jax.train.files import write_atomically
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import RECIPES, Adam, Optimizer, Recipe, learning_rate
from gen_jax.train.room import writing
from gen_jax.train.state import BeginError

Examples: TypeAlias = np.ndarray | str | Path | data.Source | Mapping[str, Any]
"""Images, the name or path of a data set, a source, or arrays by field."""

_GRID = 64  # samples of a picture
_BATCH = 64  # examples a step, where nothing else is said


def fit(
    configuration: Configuration,
    examples: Examples | tuple[Examples, ...],
    labels: np.ndarray | None = None,
    *,
    training: Training = Training(),
    optimizers: Optimizer | Mapping[str, Optimizer] | None = None,
    directory: str | Path | None = None,
    image_size: int | None = None,
    flip: bool = False,
    crop: int = 0,
    begin: Mapping[str, Beginning] | None = None,
    evaluate: Callable[[Run], str] | None = None,
    title: str = "train",
    quiet: bool = False,
) -> Run:
    """Trains a model.

    Args:
      configuration: which model, e.g. ``gen_jax.models.VAEConfig()``.
      examples: images uint8 ``[N, H, W, C]``, the name or path of a data set, arrays by field
        (``{"sequence": x}``, see :func:`gen_jax.data.from_fields`), or a ``Source``; for two unpaired domains a tuple
        of two, of which the second one's ``image`` is called ``other``.
      labels: integers ``[N]``, beside an array of images.
      training: steps, batch, seed, and the rest.
      optimizers: one for all players, or by player; by default Adam at 2e-4, with b1 0.5 where two or more move.
      directory: where the run is kept; it goes on from what is there. None keeps it in memory.
      image_size: resize a data set's images to this side.
      flip: mirror half of the training images at random.
      crop: pad training images by this many pixels and crop them back at random.
      begin: players that begin as those of earlier runs: a run, its directory, or a :class:`gen_jax.begin.From`.
      evaluate: called every ``training.evaluate_every`` steps and at the end with the run as it stands; what it returns
        is shown. :func:`gen_jax.ruler.during_training` makes one.
      title: what the progress calls the run.
      quiet: show nothing.

    Raises:
      DataError, ConfigError, CheckpointError, DivergedError, InterruptedRun: see there.
    """
    sources = _sources(examples, labels, image_size)
    fields = _fields(sources, crop)
    model = _built(configuration, fields)
    training = _with_batch(training, model)
    recipes = _by_player(optimizers, model)
    _check(model, recipes, training, evaluate, begin or {})
    mesh = _mesh(training, sources[0].size)
    batches = _batches(sources, training)
    beginning = begun(begin or {})
    facts = {name: player.described for name, player in beginning.items()}
    settings = describe(configuration, sources, image_size, training, recipes, flip, crop, facts)
    before = known_settings(directory)
    snapshot = functools.partial(_snapshot, model, configuration, settings, sources, {})
    with watch.watched(), claimed(directory, settings, before) as path, _begin_errors():
        result = loop.fit(
            model,
            batches,
            training,
            {name: _transformation(recipe, model, name, training) for name, recipe in recipes.items()},
            prepare=functools.partial(data.prepare, fields=fields, flip=flip, crop=crop),
            directory=path,
            draw=None if path is None else lambda state: _draw(snapshot(state), sources, path),
            evaluate=None if evaluate is None else lambda state: evaluate(snapshot(state)),
            begin={name: (player.params, player.buffers) for name, player in beginning.items()},
            accept=functools.partial(record, path, settings, before),
            mesh=mesh,
            title=title,
            notes=_notes(model, recipes, training, before),
            quiet=quiet,
        )
    return dataclasses.replace(snapshot(result.state), directory=path, result=result)


@contextmanager
def _begin_errors() -> Iterator[None]:
    try:
        yield
    except BeginError as error:
        raise ConfigError(str(error)) from error


def source_of(examples: Examples, labels: np.ndarray | None = None, image_size: int | None = None) -> data.Source:
    """What :func:`fit` makes of its examples.

    Raises:
      DataError: if they cannot be used.
    """
    if isinstance(examples, str | Path):
        _refuse_labels(labels, "a data set")
        return data.load(str(examples), image_size=image_size)
    if image_size is not None:
        raise data.DataError(f"image_size={image_size} is of data sets by name or path; resize the arrays themselves")
    if isinstance(examples, data.Source):
        _refuse_labels(labels, "a source")
        return examples
    if isinstance(examples, Mapping):
        _refuse_labels(labels, "arrays by field, where they are the field 'label'")
        return data.from_fields(examples)
    return data.from_arrays(np.asarray(examples), labels)


def _refuse_labels(labels: np.ndarray | None, other: str) -> None:
    if labels is not None:
        raise data.DataError(f"labels are taken beside an array of images, and these are {other}; leave them out")


def _sources(
    examples: Examples | tuple[Examples, ...], labels: np.ndarray | None, image_size: int | None
) -> list[data.Source]:
    if not isinstance(examples, tuple):
        return [source_of(examples, labels, image_size)]
    _refuse_labels(labels, "several sources")
    sources = [source_of(part, image_size=image_size if isinstance(part, str | Path) else None) for part in examples]
    if not sources:
        raise data.DataError("expected data, got an empty tuple")
    first, *others = sources
    return [first, *(_beside(first, other) for other in others)]


def _beside(first: data.Source, other: data.Source) -> data.Source:
    """``other`` with its ``image`` called ``other``, and its further fields ``other_...``, where both have them."""
    both = [name for name in other.fields if name in first.fields]
    return other.renamed(**{name: "other" if name == "image" else f"other_{name}" for name in both}) if both else other


def _batches(sources: Sequence[data.Source], training: Training) -> Any:
    size = training.batch_size or sources[0].size
    parts = tuple(
        data.Batches(source, size, training.seed + place, jax.process_index(), jax.process_count())
        for place, source in enumerate(sources)
    )
    return parts[0] if len(parts) == 1 else data.Unpaired(parts)


def _built(configuration: Configuration, fields: Fields) -> Model:
    if getattr(configuration, "conditional", False) and "label" not in fields:
        raise data.DataError("the model is conditional, but the data has no labels; use --no-conditional")
    try:
        return configuration.build(fields)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _with_batch(training: Training, model: Model) -> Training:
    """The batch that is used, where none was asked for: the whole set for models that are fitted to it at once."""
    if training.batch_size is not None:
        return training
    return dataclasses.replace(training, batch_size=0 if getattr(model, "whole_set", False) else _BATCH)


def _mesh(training: Training, whole: int) -> Mesh:
    """All devices; for a batch whose size is the data's and not a choice, as many as divide it."""
    size = training.batch_size or whole
    mesh = shard.data_mesh()
    if not training.batch_size and jax.process_count() == 1:
        devices = jax.devices()
        mesh = shard.data_mesh(devices[: max(n for n in range(1, len(devices) + 1) if size % n == 0)])
    if size % mesh.devices.size:
        raise ConfigError(f"batch size {size} is not divisible by the {mesh.devices.size} devices; change it")
    if size % training.accumulate:
        raise ConfigError(f"batch size {size} is not divisible by --accumulate {training.accumulate}; change either")
    return mesh


def _by_player(optimizers: Optimizer | Mapping[str, Optimizer] | None, model: Model) -> dict[str, Optimizer]:
    if isinstance(optimizers, Mapping):
        return dict(optimizers)
    names = players(model.turns)
    return dict.fromkeys(names, optimizers or Adam(b1=0.5 if len(names) > 1 else 0.9))


def _check(
    model: Model,
    optimizers: Mapping[str, Optimizer],
    training: Training,
    evaluate: Callable[[Run], str] | None,
    begin: Mapping[str, Beginning],
) -> None:
    names = set(players(model.turns))
    if names != set(optimizers):
        raise ConfigError(f"optimizers are for {sorted(optimizers)}, the model's players are {sorted(names)}")
    if bool(training.evaluate_every) != (evaluate is not None):
        raise ConfigError("expected both of evaluate= and --evaluate-every, or neither; give the other one, too")
    for player in getattr(model, "begins", ()):
        if player not in begin:
            raise ConfigError(
                f"{player} never moves in this game, and would begin with nothing trained; give the run that it"
                f" comes from: begin={{{player!r}: run}}, on the command line --begin {player}=DIRECTORY"
            )


def _fields(sources: Sequence[data.Source], crop: int) -> Fields:
    """Those of all sources, all of which are larger than what is cropped."""
    fields = {name: field for source in sources for name, field in source.fields.items()}
    for name, field in fields.items():
        side = min(field.shape[-3:-1]) if field.kind is PIXELS else math.inf
        if not 0 <= crop < side:
            raise ConfigError(f"crop: expected 0 or more, and less than the {side} pixels of the {name}, got {crop}")
    return fields


def _turns(model: Model, player: str, training: Training) -> int:
    """That a player takes in its run; 0 where the clock ends it."""
    return 0 if training.seconds else turns_taken(model.turns, player, training.steps)


def _transformation(optimizer: Optimizer, model: Model, player: str, training: Training) -> Any:
    if isinstance(optimizer, RECIPES):
        return optimizer.build(_turns(model, player, training))
    if not isinstance(optimizer, optax.GradientTransformation):
        known = ", ".join(recipe.__name__ for recipe in RECIPES)
        raise ConfigError(f"optimizers[{player!r}]: expected {known} or a transformation of optax, got {optimizer!r}")
    return optimizer


def _notes(
    model: Model, optimizers: Mapping[str, Optimizer], training: Training, known: Mapping[str, Any] | None
) -> list[str]:
    """What is not as it was: other programs, and learning rates that decay, where a run goes on for longer."""
    if known is None:
        return []
    before = known["training"]
    return [*_other_programs(training, before), *_other_decays(model, optimizers, training, before)]


def _other_programs(training: Training, before: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {before[name]} and is now {getattr(training, name)}: other programs, whose last digits differ, so"
        " that the run does not end bit-identical to one that was not stopped"
        for name in ("steps_per_call", "fsdp")
        if before.get(name, getattr(training, name)) != getattr(training, name)
    ]


def _other_decays(
    model: Model, optimizers: Mapping[str, Optimizer], training: Training, before: Mapping[str, Any]
) -> list[str]:
    if training.seconds or before["seconds"]:
        changed = before["seconds"] != training.seconds
        return [_by_clock(name, before["seconds"], training.seconds) for name in _decaying(optimizers) if changed]
    old, new = before["steps"], training.steps
    notes = []
    for name, recipe in _decaying(optimizers).items() if old != new else ():
        count, turns = turns_taken(model.turns, name, old), _turns(model, name, training)
        was, now = (float(learning_rate(recipe, count, n, 0.0)) for n in (count, turns))
        notes.append(
            f"the {recipe.decay} decay of {name} was made for {old} steps and is now one over {new}: at step {old} its "
            f"learning rate is {now:.3g}, not {was:.3g}"
        )
    return notes


def _by_clock(name: str, before: float, now: float) -> str:
    return f"the decay of {name} was made for {before:g} seconds (0: for steps) and is now one over {now:g}"


def _decaying(optimizers: Mapping[str, Optimizer]) -> dict[str, Recipe]:
    return {name: r for name, r in optimizers.items() if isinstance(r, RECIPES) and r.decay != "constant"}


def _snapshot(
    model: Model,
    configuration: Configuration,
    settings: dict[str, Any],
    sources: Sequence[data.Source],
    programs: dict[tuple[str, int], Any],
    state: State,
) -> Run:
    average, step = state.ema, int(state.step)
    params, buffers = average["params"], average["buffers"]
    return Run(model, configuration, params, buffers, step, settings, sources=sources, programs=programs)


def _draw(run: Run, sources: Sequence[data.Source], path: Path) -> None:
    """A picture of samples; what they are told and cannot be drawn is that of the first examples."""
    key = jax.random.fold_in(jax.random.key(run.settings["training"]["seed"]), _GRID)
    counts = run.settings["data"]["counts"]
    given: dict[str, np.ndarray] = {}
    if any(name not in counts for name in run.model.given):
        for source in sources:
            first = source.read(np.arange(_GRID) % source.size)
            given |= {name: first[name] for name in run.model.given if name in first}
    picture = run.picture(key, _GRID, **given)
    if jax.process_index() == 0:
        folder = path / "samples"
        with writing(folder):
            folder.mkdir(exist_ok=True)
        content = io.BytesIO()
        picture.save(content, format="PNG")
        write_atomically(folder / f"{run.step:08d}.png", content.getvalue())
