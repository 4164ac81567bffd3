"""What can be done with any run: sample from it, measure it, ask what it is; and what models there are.

python -m gen_jax sample DIRECTORY --number 64 --out samples.png
python -m gen_jax evaluate DIRECTORY
python -m gen_jax info DIRECTORY [--json]
python -m gen_jax models [WORD]
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import cli, data
from gen_jax.checks import Count, Number, plain

USAGE = "expected: python -m gen_jax sample|evaluate|info DIRECTORY [--help], or models [WORD]"


@plain
class Sample:
    """Draws samples from a run."""

    number: Count = 64
    """How many."""
    out: str = "samples.png"
    """Where to: .png for one picture of all, .npy for an array as they are stored, or, of images, FOLDER/ for one .png
    each."""
    label: int = -1
    """Class of all samples, for a conditional model; -1 draws classes with the frequencies of the training data."""
    given: str = ""
    """What else samples are told: an .npz file with an array [N, ...] of every field."""
    seed: Number = 0
    """Seed of the draw; a larger draw from the same seed begins with the same samples."""
    raw: bool = False
    """Use the last weights instead of their average."""
    batch_size: Count = 256
    """Samples at a time."""


@plain
class Info:
    """Says what a run is: model, data, step, parameters, and one hash over its whole saved state."""

    json: bool = False
    """Print JSON."""


def sample(directory: Path, settings: Sample) -> None:
    """Writes ``settings.out``."""
    from gen_jax.fields import PIXELS
    from gen_jax.pictures import image_grid
    from gen_jax.run import load
    from gen_jax.settings import ConfigError
    from gen_jax.train.room import writing

    out = Path(settings.out)
    folder = settings.out.endswith("/")
    if not folder and out.suffix not in (".png", ".npy"):
        raise ConfigError(f"--out should end in .png, .npy or, for a folder, in /, got {settings.out}")
    if folder and out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out {settings.out} holds files already; give a new folder")
    run = load(directory, raw=settings.raw)
    if folder and not (run.makes.kind is PIXELS and len(run.makes.shape) == 3):
        raise ConfigError(
            f"--out {settings.out} is for images, one a file, and this run makes {run.model.makes}; use .npy"
        )
    given: dict[str, Any] = dict(data.files.open_npz(Path(settings.given))) if settings.given else {}
    if settings.label >= 0:
        given["label"] = settings.label
    try:
        if out.suffix == ".png":
            picture = run.picture(settings.seed, settings.number, **given)
            with writing(out):
                picture.save(out)
        elif folder:
            with writing(out):
                out.mkdir(parents=True, exist_ok=True)
            drawn = run.draws(settings.seed, settings.number, batch_size=settings.batch_size, **given)
            for index, image in enumerate(image for images in drawn for image in images):
                with writing(out / f"{index:06d}.png"):
                    image_grid(image[None], scale=1).save(out / f"{index:06d}.png")
        else:
            _save(out, run.sample(settings.seed, settings.number, batch_size=settings.batch_size, **given))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    what = f"{run.model.makes}s" if settings.number > 1 else run.model.makes
    print(f"{settings.number} {what} of {directory} at step {run.step}: {out}")


def _save(out: Path, samples: np.ndarray) -> None:
    """As ``np.save``, which does not say that a disk is full."""
    from gen_jax.train.room import writing

    samples = np.ascontiguousarray(samples)
    with writing(out, samples.nbytes), open(out, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(samples))
        file.write(samples.data)


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
    from gen_jax.settings import last_stage, read_settings
    from gen_jax.train import checkpoint, shard

    directory = last_stage(directory)
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
        "fields": settings["fields"],
        "data": {name: value for name, value in settings["data"].items() if name not in ("counts", "names")},
        "step": int(path.name),
        "steps": settings["training"]["steps"],
        "parameters": {**counts, "total": sum(counts.values())},
        "versions": settings["versions"],
        "devices": settings["devices"],
        "state_sha256": checkpoint.state_sha256(arrays),
    }


def models(word: str) -> None:
    """Prints the index of models, or the rows in which a word stands."""
    from gen_jax.models import index

    rows = [row for row in index() if word.lower() in " ".join(row).lower()]
    if not rows:
        raise cli.UsageError(f"no model with {word!r} in its row; python -m gen_jax models lists all")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


COMMANDS: dict[str, tuple[Callable[[Path, Any], None], Any]] = {
    "sample": (sample, Sample()),
    "info": (info, Info()),
}


def main(arguments: Sequence[str]) -> None:
    """Runs one command line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        if not arguments:
            raise cli.UsageError(USAGE)
        return
    if arguments[0] == "evaluate":
        from gen_jax.evaluate.__main__ import main as evaluate

        evaluate(arguments[1:])
        return
    if arguments[0] == "models":
        if len(arguments) > 2 or any(argument.startswith("-") for argument in arguments[1:]):
            raise cli.UsageError(
                f"expected one word at most, got {' '.join(arguments[1:])}; python -m gen_jax models [WORD]"
            )
        models(*arguments[1:] or [""])
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
    cli.end(lambda: main(sys.argv[1:]), data_error=data.DataError)
