"""What a run's directory says of it: ``config.json``, and to whom the directory belongs."""

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from gen_jax import data, fields
from gen_jax.checks import nearest
from gen_jax.models import CONFIGURATIONS, Configuration
from gen_jax.train.files import write_atomically
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import RECIPES, Optimizer

_FREE = (
    "training.steps",
    "training.seconds",
    "training.log_every",
    "training.checkpoint_every",
    "training.sample_every",
    "training.evaluate_every",
    "training.steps_per_call",
    "training.fsdp",
    "data.counts",
    "data.names",
    "data.parts",
)  # may change on resume: what does not change the run, and what the fingerprint says already
STAGES = "stages.json"  # names the runs of a sequence
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class ConfigError(ValueError):
    """Settings that cannot be used."""


def describe(
    configuration: Configuration,
    sources: Sequence[data.Source],
    image_size: int | None,
    training: Training,
    optimizers: Mapping[str, Optimizer],
    flip: bool,
    crop: int,
    begin: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """``config.json``: all that a run is made of."""
    described = {
        "model": describe_configuration(configuration),
        "fields": fields.to_json({name: field for source in sources for name, field in source.fields.items()}),
        "data": {
            "name": " + ".join(source.name for source in sources),
            "split": sources[0].split,
            "size": sources[0].size,
            "fingerprint": " ".join(source.fingerprint for source in sources),
            "resized": image_size,
            "flip": flip,
            "crop": crop,
            "counts": {name: counts for source in sources for name, counts in source.counts.items()},
            "names": {name: names for source in sources for name, names in source.names.items()},
            "parts": [{"name": s.name, "split": s.split, "fields": list(s.fields)} for s in sources],
        },
        "training": dataclasses.asdict(training),
        "optimizers": {
            name: {"recipe": type(recipe).__name__, **dataclasses.asdict(recipe)}
            if isinstance(recipe, RECIPES)
            else "given in Python"
            for name, recipe in optimizers.items()
        },
        "begin": begin,
        "versions": {"gen_jax": version("gen_jax"), **{name: version(name) for name in _PACKAGES}},
        "devices": [str(device) for device in jax.devices()],
    }
    return json.loads(json.dumps(described))


def stage_names(directory: Path) -> list[str]:
    """The stages of the sequence of runs in a directory, in their order; none of a single run."""
    file = directory / STAGES
    return [] if not file.is_file() else json.loads(file.read_text())["stages"]


def last_stage(directory: Path) -> Path:
    """The directory of the run: of the last one where it holds a sequence of stages."""
    names = stage_names(directory)
    return directory / names[-1] if names else directory


def read_settings(directory: Path) -> dict[str, Any]:
    """``config.json`` of a run.

    Raises:
      ConfigError: if the directory holds none.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise ConfigError(f"{directory} holds no run: {file} is missing; give the --workdir of a training run")
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def configuration_from(described: Mapping[str, Any]) -> Configuration:
    """A model's configuration from its JSON.

    Raises:
      ConfigError: if it names no known configuration, or other fields.
    """
    known = {kind.__name__: kind for kind in CONFIGURATIONS}
    values = {
        name: configuration_from(value) if isinstance(value, Mapping) and "configuration" in value else value
        for name, value in described.items()
    }
    name = values.pop("configuration", None)
    if name not in known:
        raise ConfigError(f"unknown model configuration {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    try:
        return known[name](**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def describe_configuration(value: Any) -> Any:
    """The JSON of a model's configuration, and of whatever is in one."""
    if isinstance(value, tuple):
        return [describe_configuration(part) for part in value]
    if not dataclasses.is_dataclass(value):
        return value
    named = isinstance(value, CONFIGURATIONS)
    name: dict[str, Any] = {"configuration": type(value).__name__} if named else {}
    values = {field.name: describe_configuration(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {**name, **values}


@contextmanager
def claimed(directory: str | Path | None, settings: dict[str, Any]) -> Iterator[Path | None]:
    """The directory, held by this process alone and belonging to this configuration."""
    if directory is None:
        yield None
        return
    path = Path(directory)
    if (path / "config.json").exists():
        _check_same(path, read_settings(path), settings)
    path.mkdir(parents=True, exist_ok=True)
    if jax.process_index():
        yield path
        return
    with open(path / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise ConfigError(f"{path} is in use by process {owner}; choose another --workdir") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {os.uname().nodename}")
        lock.flush()
        write_atomically(path / "config.json", json.dumps(settings, indent=1) + "\n")
        yield path


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for section in ("model", "fields", "data", "training", "optimizers", "begin"):
        old, new = _flat(before.get(section), section), _flat(now[section], section)
        for name in sorted(old.keys() | new.keys()):
            free = name.startswith(_FREE) or (section == "begin" and name.endswith(".run"))
            if not free and old.get(name) != new.get(name):
                raise ConfigError(
                    f"{path} holds a run with {name} = {old.get(name)}, this one has {new.get(name)};"
                    " choose another --workdir, or give the same settings"
                )


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}").items()}
