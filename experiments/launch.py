"""From an experiment's presets to its command line.

An experiment is a frozen dataclass of settings with presets of it. ``python -m experiments.NAME --preset small`` (the
default) or ``--preset reference`` chooses where to start from, every other flag changes one field.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import jax
import tyro

import gen_jax
from gen_jax import Training, cli, data
from gen_jax.models import Configuration
from gen_jax.train.optimizers import Adam

Flat = tyro.conf.arg(name="")  # a nested dataclass whose flags carry no prefix
FlatAdam = Annotated[Adam, Flat]


@dataclass(frozen=True)
class Place:
    """What a run reads and where it writes."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    workdir: str = "runs/latest"
    """Directory of the run; the same command goes on from what is there."""
    image_size: int = 0
    """Resize images to this side, pixels; 0 keeps their size."""
    flip: bool = False
    """Mirror half of the training images at random."""
    crop: int = 0
    """Pad training images by this many pixels and crop them back at random."""
    coordinator: str = ""
    """host:port of process 0 of several; on a TPU slice 'auto'. Empty: one process."""
    processes: int = 1
    """Number of processes, with a coordinator's address."""
    process: int = 0
    """Index of this process, with a coordinator's address."""


FlatPlace = Annotated[Place, Flat]


def launch(main: Callable[[Any], None], presets: Mapping[str, Any], *, name: str, doc: str | None) -> None:
    """Parses the command line, runs ``main`` and exits with its status."""

    def run() -> None:
        preset, arguments = _preset(sys.argv[1:], presets)
        settings = cli.parse(
            type(presets[preset]),
            arguments,
            default=presets[preset],
            program=f"python -m experiments.{name}",
            description=f"{doc or ''}\n\nPresets (--preset): {', '.join(presets)}; this help is of {preset!r}.",
        )
        cli.use_compilation_cache()
        _connect(getattr(settings, "place", None))
        main(settings)

    sys.exit(cli.execute(run, data_error=data.DataError))


class Experiment(Protocol):
    """Settings that train one model."""

    @property
    def place(self) -> Place:
        """Data and directory."""
        ...

    @property
    def model(self) -> Configuration:
        """The model's configuration."""
        ...

    @property
    def training(self) -> Training:
        """Steps, batch and the rest."""
        ...

    @property
    def optimizers(self) -> Mapping[str, Adam]:
        """By player."""
        ...


def train(settings: Experiment, *, label: str) -> None:
    """Trains the model that the settings describe."""
    place = settings.place
    gen_jax.fit(
        settings.model,
        place.data,
        training=settings.training,
        optimizers=settings.optimizers,
        directory=place.workdir,
        image_size=place.image_size or None,
        flip=place.flip,
        crop=place.crop,
        label=label,
    )


def train_as(label: str) -> Callable[[Experiment], None]:
    """:func:`train` under a name."""
    return functools.partial(train, label=label)


def _preset(arguments: list[str], presets: Mapping[str, Any]) -> tuple[str, list[str]]:
    rest = list(arguments)
    chosen = next(iter(presets))
    for index, argument in enumerate(arguments):
        if argument == "--preset" or argument.startswith("--preset="):
            inline = argument.partition("=")[2]
            chosen = inline or (arguments[index + 1] if index + 1 < len(arguments) else "")
            rest = arguments[:index] + arguments[index + (1 if inline else 2) :]
    if chosen not in presets:
        raise cli.UsageError(f"unknown preset {chosen!r}; there are {', '.join(presets)}")
    return chosen, rest


def _connect(place: Place | None) -> None:
    if place is None or not place.coordinator:
        return
    if place.coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(place.coordinator, place.processes, place.process)
