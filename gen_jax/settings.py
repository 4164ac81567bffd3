"""What a run's directory says of it: ``config.json``, and to whom the directory belongs."""

import dataclasses
import difflib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from gen_jax import data
from gen_jax.models import CONFIGURATIONS, Configuration
from gen_jax.train import checkpoint
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import Adam, Optimizer

_FREE = (
    "steps",
    "log_every",
    "checkpoint_every",
    "sample_every",
    "evaluate_every",
    "evaluate_images",
    "metrics",
    "steps_per_call",
    "fsdp",
)  # may change on resume
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class ConfigError(ValueError):
    """Settings that cannot be used."""


def describe(
    configuration: Configuration,
    source: data.Source,
    image_size: int | None,
    training: Training,
    optimizers: Mapping[str, Optimizer],
    flip: bool,
    crop: int,
) -> dict[str, Any]:
    """``config.json``: all that a run is made of."""
    described = {
        "model": describe_configuration(configuration),
        "shape": source.shape,
        "classes": source.classes,
        "data": {
            "name": source.name,
            "split": source.split,
            "size": source.size,
            "fingerprint": source.fingerprint,
            "resized": image_size,
            "flip": flip,
            "crop": crop,
        },
        "training": dataclasses.asdict(training),
        "optimizers": {
            name: dataclasses.asdict(recipe) if isinstance(recipe, Adam) else "given in Python"
            for name, recipe in optimizers.items()
        },
        "versions": {"gen_jax": version("gen_jax"), **{name: version(name) for name in _PACKAGES}},
        "devices": [str(device) for device in jax.devices()],
    }
    return json.loads(json.dumps(described))


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
    values = dict(described)
    name = values.pop("configuration", None)
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1)
        raise ConfigError(f"unknown model configuration {name!r}; {f'nearest: {near[0]}' if near else sorted(known)}")
    try:
        return known[name](**{key: _tuples(value) for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error


def describe_configuration(configuration: Configuration) -> dict[str, Any]:
    """The JSON of a model's configuration."""
    fields = dataclasses.asdict(configuration)  # type: ignore[call-overload]
    return {"configuration": type(configuration).__name__, **fields}


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
        checkpoint.write_atomically(path / "config.json", json.dumps(settings, indent=1) + "\n")
        yield path


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for section in ("model", "shape", "classes", "data", "training", "optimizers"):
        old, new = _flat(before.get(section), section), _flat(now[section], section)
        for name in sorted(old.keys() | new.keys()):
            if name.removeprefix("training.") not in _FREE and old.get(name) != new.get(name):
                raise ConfigError(
                    f"{path} holds a run with {name} = {old.get(name)}, this one has {new.get(name)};"
                    " choose another --workdir, or give the same settings"
                )


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}").items()}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
