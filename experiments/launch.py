"""From an experiment's presets to its command line.

An experiment is a frozen dataclass of settings with presets of it. ``python -m experiments.NAME --preset small`` (the
default) or ``--preset reference`` chooses where to start from, every other flag changes one field.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Protocol, TypeVar

import jax
import tyro

import gen_jax
from gen_jax import Training, cli, data
from gen_jax.models import Configuration
from gen_jax.run import Run
from gen_jax.settings import ConfigError, configuration_from, read_settings
from gen_jax.train.optimizers import Adam

Flat = tyro.conf.arg(name="")  # a nested dataclass whose flags carry no prefix
FlatAdam = Annotated[Adam, Flat]
Teacher = TypeVar("Teacher")

SMALL_TRAINING = Training(steps=10_000, batch_size=64, checkpoint_every=1000, ema_ramp=0.2)
"""Of a denoiser in minutes on two CPU cores."""
ENDLESS = 10**9  # steps: the clock ends the run
SMALL_SIDE = 16  # images below this side take an experiment's `digits` preset, where it has one


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


def launch(main: Callable[[Any], Any], presets: Mapping[str, Any], *, name: str, doc: str | None) -> None:
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


def train(settings: Experiment, *, label: str, teacher: Run | None = None) -> Run:
    """Trains the model that the settings describe, as the student of ``teacher`` if there is one."""
    place = settings.place
    return gen_jax.fit(
        settings.model,
        place.data,
        training=settings.training,
        optimizers=settings.optimizers,
        directory=place.workdir,
        image_size=place.image_size or None,
        flip=place.flip,
        crop=place.crop,
        teacher=teacher,
        label=label,
    )


def train_as(label: str) -> Callable[[Experiment], Run]:
    """:func:`train` under a name."""
    return functools.partial(train, label=label)


def small_preset(experiment: ModuleType, side: int) -> Experiment:
    """The settings of an experiment's module for images of this side, in minutes on a CPU."""
    presets: Mapping[str, Experiment] = experiment.PRESETS
    return presets["digits"] if side < SMALL_SIDE and "digits" in presets else presets["small"]


def taught_configuration(directory: str, kind: type[Teacher]) -> Teacher:
    """The configuration of a teacher's run.

    Raises:
      ConfigError: if there is no run in the directory, or one of another model.
    """
    configuration = configuration_from(read_settings(Path(directory))["model"])
    if not isinstance(configuration, kind):
        raise ConfigError(
            f"expected {directory} to hold a run of {kind.__name__}, got {type(configuration).__name__}; give --teacher"
            " the directory of another run"
        )
    return configuration


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
