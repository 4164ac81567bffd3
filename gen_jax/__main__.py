"""What can be done with any run: sample from it, measure it, ask what it is.

python -m gen_jax sample DIRECTORY --number 64 --out samples.png
python -m gen_jax evaluate DIRECTORY
python -m gen_jax info DIRECTORY [--json]
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import cli, data

USAGE = "expected: python -m gen_jax sample|evaluate|info DIRECTORY [--help]"


@dataclass(frozen=True)
class Sample:
    """Draws images from a run."""

    number: int = 64
    """How many images."""
    out: str = "samples.png"
    """Where to: .png for one picture of all, .npy for uint8 [N, H, W, C], or FOLDER/ for one .png each."""
    label: int = -1
    """Class of all images, for a conditional model; -1 draws classes uniformly."""
    seed: int = 0
    """Seed of the draw; a larger draw from the same seed begins with the same images."""
    raw: bool = False
    """Use the last weights instead of their average."""
    batch_size: int = 256
    """Images at a time."""


@dataclass(frozen=True)
class Evaluate:
    """Measures a run's samples against held-out images of its data; python -m gen_jax.evaluate measures anything."""

    number: int = 0
    """Images to generate; 0 takes as many as the reference has, at most 10,000."""
    data: str = ""
    """Reference data set; empty: the one that the run was trained on."""
    split: str = "test"
    """Split of the reference."""
    metrics: str = ""
    """fid, kid, prdc, is, fid_infinity, is_infinity, memorisation, separated by commas; empty: the first four."""
    intervals: int = 0
    """Half-samples that 95 % intervals are made from; 0 makes none."""
    seed: int = 0
    """Seed of the draw."""
    raw: bool = False
    """Use the last weights instead of their average."""
    json: bool = False
    """Print the measurement and its protocol as JSON."""


@dataclass(frozen=True)
class Info:
    """Says what a run is: model, data, step, parameters, and one hash over its whole saved state."""

    json: bool = False
    """Print JSON."""


def sample(directory: Path, settings: Sample) -> None:
    """Writes ``settings.out``."""
    from gen_jax.pictures import image_grid
    from gen_jax.run import load
    from gen_jax.settings import ConfigError

    out = Path(settings.out)
    folder = settings.out.endswith("/")
    if not folder and out.suffix not in (".png", ".npy"):
        raise ConfigError(f"--out should end in .png, .npy or, for a folder, in /, got {settings.out}")
    if folder and out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out {settings.out} holds files already; give a new folder")
    if settings.number < 1:
        raise ConfigError(f"--number should be at least 1, got {settings.number}")
    run = load(directory, raw=settings.raw)
    label = None if settings.label < 0 else settings.label
    try:
        images = run.sample(settings.seed, settings.number, label=label, batch_size=settings.batch_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if folder:
        out.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            image_grid(image[None], scale=1).save(out / f"{index:06d}.png")
    elif out.suffix == ".npy":
        np.save(out, images)
    else:
        image_grid(images).save(out)
    print(f"{len(images)} images of {directory} at step {run.step}: {out}")


def info(directory: Path, settings: Info) -> None:
    """Prints what the run is."""
    described = describe(directory)
    if settings.json:
        print(json.dumps(described, indent=1))
        return
    for name, value in described.items():
        print(f"{name:13} {json.dumps(value) if isinstance(value, dict) else value}")


def describe(directory: Path) -> dict[str, Any]:
    """Model, data, step, parameters by player and in all, and ``state_sha256``."""
    import jax

    from gen_jax.run import newest_checkpoint
    from gen_jax.settings import read_settings
    from gen_jax.train import checkpoint, shard

    settings = read_settings(directory)
    path = newest_checkpoint(directory)
    where = shard.replicated(shard.data_mesh())
    saved = checkpoint.describe(path)
    abstract = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where) for name, a in saved.items()}
    arrays = checkpoint.read(path, abstract)
    counts: dict[str, int] = {}
    for name, array in arrays.items():
        if name.startswith("params."):
            player = name.split(".")[1]
            counts[player] = counts.get(player, 0) + int(array.size)
    return {
        "directory": str(directory),
        "model": settings["model"],
        "shape": settings["shape"],
        "classes": settings["classes"],
        "data": settings["data"],
        "step": int(path.name),
        "steps": settings["training"]["steps"],
        "parameters": {**counts, "total": sum(counts.values())},
        "versions": settings["versions"],
        "devices": settings["devices"],
        "state_sha256": checkpoint.state_sha256(arrays),
    }


def evaluate(directory: Path, settings: Evaluate) -> None:
    """Prints the measurement, a line and a card for every metric."""
    from gen_jax import ruler
    from gen_jax.evaluate import from_source
    from gen_jax.evaluate.card import to_dict
    from gen_jax.run import load
    from gen_jax.settings import ConfigError

    run = load(directory, raw=settings.raw)
    name = settings.data or run.settings["data"]["name"]
    resized = run.model.shape[0] if settings.data else run.settings["data"]["resized"]
    reference = data.load(name, split=settings.split, image_size=resized)
    try:
        cards = ruler.measure_run(
            run,
            from_source(reference, limit=ruler.REFERENCE_LIMIT),
            ruler.feature_network(reference),
            metrics=[name for name in settings.metrics.split(",") if name],
            number=settings.number,
            seed=settings.seed,
            weights="raw" if settings.raw else "EMA",
            replicates=settings.intervals,
        )
    except data.DataError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if settings.json:
        print(json.dumps([to_dict(card) for card in cards], indent=1))
    else:
        print(*cards, sep="\n")


COMMANDS: dict[str, tuple[Callable[[Path, Any], None], Any]] = {
    "sample": (sample, Sample()),
    "evaluate": (evaluate, Evaluate()),
    "info": (info, Info()),
}


def main(arguments: Sequence[str]) -> None:
    """Runs one command line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        if not arguments:
            raise cli.UsageError(USAGE)
        return
    if arguments[0] not in COMMANDS:
        raise cli.UsageError(f"unknown command {arguments[0]!r}; {USAGE}")
    command, default = COMMANDS[arguments[0]]
    rest = list(arguments[1:])
    place = next((a for a in rest[:1] if not a.startswith("-")), None)
    if place is None and not {"-h", "--help"} & set(rest):
        raise cli.UsageError(f"no directory given; {USAGE}")
    settings = cli.parse(
        type(default),
        rest[1:] if place else rest,
        default=default,
        program=f"python -m gen_jax {arguments[0]} DIRECTORY",
        description=type(default).__doc__ or "",
    )
    cli.use_compilation_cache()
    command(Path(place or "."), settings)


if __name__ == "__main__":
    sys.exit(cli.execute(lambda: main(sys.argv[1:]), data_error=data.DataError))
