"""What a run's directory says of it: ``config.json``, and to whom the directory belongs."""

import dataclasses
import fcntl
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from gen_jax import data, fields
from gen_jax.checks import nearest
from gen_jax.models import CONFIGURATIONS, Configuration
from gen_jax.reading import UnfitFileError, read_json, said
from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.files import write_atomically
from gen_jax.train.loop import Training
from gen_jax.train.optimizers import RECIPES, Optimizer
from gen_jax.train.room import writing

_FREE = (
    "training.steps",
    "training.seconds",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep",
    "training.sample_every",
    "training.evaluate_every",
    "training.steps_per_call",
    "training.fsdp",
    "data.counts",
    "data.names",
    "data.parts",
)  # may change on resume: what does not change the run, and what the fingerprint says already
STAGES = "stages.json"  # names the runs of a sequence
_EACH = ""  # any name
_DESCRIBED = {
    "model": {"configuration": str},
    "fields": {_EACH: {"shape": [int], "kind": str, "size": int}},
    "data": {
        "name": str,
        "split": str,
        "size": int,
        "fingerprint": str,
        "resized": int | None,
        "counts": {_EACH: [int | float]},
        "names": {_EACH: [str]},
        "parts": [{"name": str, "split": str, "fields": [str]}],
    },
    "training": {"steps": int, "seconds": int | float, "batch_size": int, "seed": int},
    "optimizers": {_EACH: dict | str},
    "versions": {_EACH: str},
    "devices": [str],
}  # what is read of config.json, whatever else it has
_ANEW = "bring it back from a copy, or repeat the command that trained it, which writes it anew"
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
    """The stages of the sequence of runs in a directory, in their order; none of a single run.

    Raises:
      ConfigError: if the file that names them is damaged.
    """
    file = directory / STAGES
    return _read(file, {"stages": [str]})["stages"] if file.is_file() else []


def last_stage(directory: Path) -> Path:
    """The directory of the run: of the last one where it holds a sequence of stages."""
    names = stage_names(directory)
    return directory / names[-1] if names else directory


def read_settings(directory: Path) -> dict[str, Any]:
    """``config.json`` of a run.

    Raises:
      ConfigError: if the directory holds none, or a damaged one.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise ConfigError(f"{directory} holds no run: {file} is missing; give the --workdir of a training run")
    return _read(file, _DESCRIBED)


def known_settings(directory: str | Path | None) -> dict[str, Any] | None:
    """``config.json`` of a run that is to go on; None where there is none, or a damaged one, which is said."""
    if directory is None or not (Path(directory) / "config.json").is_file():
        return None
    try:
        return read_settings(Path(directory))
    except ConfigError as error:
        warnings.warn(f"{error}; what the newest checkpoint says of its settings is taken", stacklevel=2)
        return None


def _read(file: Path, like: Any) -> Any:
    try:
        value = read_json(file)
    except (ValueError, UnfitFileError) as error:
        raise ConfigError(f"{file} is damaged: {said(error)}; {_ANEW}") from error
    fault = _fault(value, like, "")
    if fault:
        raise ConfigError(f"{file} is damaged: {fault}; {_ANEW}")
    return value


def _fault(value: Any, like: Any, name: str) -> str | None:
    """How a value of JSON is not like ``like``: types, in a list of any length, or by name (``_EACH``: all names)."""
    if isinstance(like, dict):
        if not isinstance(value, dict):
            return f"{name or 'it'} should have settings by name, and is {value!r:.60}"
        for key in value if _EACH in like else like:
            if key not in value:
                return f"{name}{'.' if name else ''}{key} is missing"
            fault = _fault(value[key], like.get(_EACH, like.get(key)), f"{name}{'.' if name else ''}{key}")
            if fault:
                return fault
        return None
    if isinstance(like, list):
        if not isinstance(value, list):
            return f"{name} should be a list, and is {value!r:.60}"
        return next((fault for part in value if (fault := _fault(part, like[0], name))), None)
    sound = isinstance(value, like) and not isinstance(value, bool)
    if not sound or (isinstance(value, int | float) and not 0 <= value < 2**63):
        kinds = "a number, 0 or more" if isinstance(1, like) else "text"
        return f"{name} should be {kinds}, and is {value!r:.60}"
    return None


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
    name = str(values.pop("configuration", None))
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
def claimed(
    directory: str | Path | None, settings: dict[str, Any], before: dict[str, Any] | None
) -> Iterator[Path | None]:
    """The directory, held by this process alone; ``before`` is its ``config.json``, where there is a sound one.

    It belongs to its configuration once something was saved: a start that was refused or has diverged holds nothing.

    Raises:
      ConfigError: if it belongs to another configuration, or is held by another process.
    """
    if directory is None:
        yield None
        return
    if not str(directory):
        raise ConfigError("expected a directory, got ''; '.' is the one that you are in")
    path = Path(directory)
    if before is not None and Checkpoints(path / "checkpoints").any():
        _check_same(path, held(before), held(settings))
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    if jax.process_index():
        yield path
        return
    with writing(path / ".lock"):
        file = open(path / ".lock", "a+b", buffering=0)  # noqa: SIM115
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().decode(errors="replace").strip() or "unknown"
            raise ConfigError(f"{path} is in use by process {owner}; choose another --workdir") from None
        with writing(path / ".lock"):
            lock.truncate(0)
            lock.write(f"{os.getpid()} on {os.uname().nodename}".encode())
        yield path


def held(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What must stay as it is in a directory, flat, by name; it is saved with every checkpoint."""
    flat: dict[str, Any] = {}
    for section in ("model", "fields", "data", "training", "optimizers", "begin"):
        flat |= _flat(settings.get(section), section)
    free = {name for name in flat if name.startswith(_FREE) or (name.startswith("begin.") and name.endswith(".run"))}
    return {name: flat[name] for name in sorted(flat.keys() - free)}


def record(
    path: Path | None, settings: dict[str, Any], before: dict[str, Any] | None, saved: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes ``config.json``, where the newest checkpoint does not contradict it; what the next ones are to say of it.

    Args:
      path: of the run; None writes nothing.
      settings: to be written.
      before: those that were there.
      saved: what the checkpoint that the run goes on from says of itself; empty without one.

    Raises:
      ConfigError: if the checkpoint is of other settings.
    """
    if path is None:
        return {}
    if saved.get("settings"):
        _check_same(path, saved["settings"], held(settings))
    elif saved and before is None:
        warnings.warn(
            f"{path} has lost its config.json, and its checkpoints are of a version that does not save their settings: "
            "it goes on with those that were given",
            stacklevel=2,
        )
    if jax.process_index() == 0:
        write_atomically(path / "config.json", json.dumps(settings, indent=1) + "\n")
    return {"settings": held(settings)}


def _check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"{path} holds a run with {name} = {before.get(name)}, this one has {now.get(name)};"
                " choose another --workdir, or give the same settings"
            )


def _flat(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}").items()}
