"""From an experiment's presets to its command line.

An experiment is a docstring and presets: :class:`Settings` of a model, its optimizers and its training. ``python -m
experiments.NAME --preset small`` (the default) or ``--preset reference`` chooses where to start from, every other flag
changes one field.
"""

import functools
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

import gen_jax
from gen_jax import From, Stage, Training, cli, data, ruler
from gen_jax.begin import Beginning
from gen_jax.checks import Amount, Count, Number, Positive, plain
from gen_jax.fitting import source_of
from gen_jax.models import Configuration
from gen_jax.run import Run, newest_checkpoint
from gen_jax.settings import ConfigError, configuration_from, read_settings, stage_names
from gen_jax.train import peers, watch
from gen_jax.train.checkpoint import Checkpoints
from gen_jax.train.files import read_log
from gen_jax.train.optimizers import Adam, RMSProp

Flat = tyro.conf.arg(name="")  # a nested dataclass whose flags carry no prefix
Model = TypeVar("Model", bound=Configuration)
Optimizers = TypeVar("Optimizers")
Teacher = TypeVar("Teacher")

SMALL_TRAINING = Training(steps=10_000, batch_size=64, checkpoint_every=1000, ema_ramp=0.2)
"""Of a denoiser in minutes on two CPU cores."""
ENDLESS = 10**9  # steps: the clock ends the run
SMALL_SIDE = 16  # images below this side take an experiment's `digits` preset, where it has one


@plain
class Place:
    """What a run reads and where it writes."""

    data: str = "digits"
    """A data set by name (digits, fashion_mnist, a TFDS name, ...), a folder of images, or a .npy or .npz file."""
    workdir: str = "runs/latest"
    """Directory of the run; the same command goes on from what is there."""
    image_size: Number = 0
    """Resize images to this side, pixels; 0 keeps their size."""
    flip: bool = False
    """Mirror half of the training images at random."""
    crop: Number = 0
    """Pad training images by this many pixels and crop them back at random."""
    begin: tuple[str, ...] = ()
    """Players that begin as those of earlier runs: PLAYER=DIRECTORY, PLAYER=DIRECTORY:PLAYER or, for its last weights,
    PLAYER=DIRECTORY:PLAYER:raw."""
    coordinator: str = ""
    """host:port of process 0 of several; on a TPU slice 'auto'. Empty: one process."""
    processes: Count = 1
    """Number of processes, with a coordinator's address."""
    process: Number = 0
    """Index of this process, with a coordinator's address."""
    stall_seconds: Amount = 1800.0
    """End with status 75, and say where every thread stands, when nothing has moved for so long; compiling is not
    counted. 0 waits for ever."""
    connect_seconds: Count = 300
    """How long to wait for all processes to come, with a coordinator's address."""
    lost_seconds: Positive = 20.0
    """End with status 76 when nothing was heard of another process for so long."""

    def __post_init__(self) -> None:
        if self.process >= self.processes:
            raise ValueError(
                f"process: expected less than --processes, {self.processes}, got {self.process}; the first is 0"
            )
        if self.processes > 1 and not self.coordinator:
            raise ValueError(f"processes: {self.processes} need the --coordinator, host:port of process 0")
        host, _, port = self.coordinator.rpartition(":")
        sound = bool(host) and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16
        if self.coordinator not in ("", "auto") and not sound:
            raise ValueError(
                f"coordinator: expected host:port with a port of 1 to 65535, or auto, got {self.coordinator!r}"
            )


@plain
class Measuring:
    """What is measured during training, with --evaluate-every."""

    evaluate_images: Count = 2000
    """Samples generated for each measurement."""
    metrics: tuple[str, ...] = ("fid", "prdc")
    """What is measured: fid, prdc, kid, is, fid_infinity, is_infinity, memorisation, modes."""

    def __post_init__(self) -> None:
        ruler.check_metrics(self.metrics)


@dataclass(frozen=True)
class Settings(Generic[Model, Optimizers]):
    """What the training of one model is made of."""

    model: Annotated[Model, Flat]
    optimizer: Annotated[Optimizers, Flat]
    """One recipe for all players, or one for each, by name."""
    training: Annotated[Training, Flat] = SMALL_TRAINING
    place: Annotated[Place, Flat] = Place()
    measuring: Annotated[Measuring, Flat] = Measuring()


@dataclass(frozen=True)
class Staged(Settings[Model, Optimizers]):
    """What the training of a codec, and then of its prior, is made of; ``training`` is the prior's."""

    codec_steps: int = 2000
    """Steps of the codec's training, before those of the prior."""
    codec_share: float = 0.5
    """Share of a budget in seconds that the codec has."""

    def stages(self) -> tuple[Stage, ...]:
        """What is trained one after the other."""
        return codec_then_prior(self)


def launch(presets: Mapping[str, Any], *, name: str, doc: str | None, main: Callable[[Any], Any] | None = None) -> None:
    """Parses the command line, runs ``main``, by default :func:`train`, and exits with its status."""

    def run() -> None:
        preset, arguments = _preset(sys.argv[1:], presets)
        settings = cli.parse(
            _type_of(presets[preset]),
            arguments,
            default=presets[preset],
            program=f"python -m experiments.{name}",
            description=f"{doc or ''}\n\nPresets (--preset): {', '.join(presets)}; this help is of {preset!r}.",
        )
        cli.use_compilation_cache()
        place = getattr(settings, "place", Place())
        if not getattr(settings, "workdir", place.workdir):
            raise cli.UsageError("--workdir: expected a directory, got none; . is the one that you are in")
        with _joined(place), watch.limited(place.stall_seconds):
            (main or functools.partial(train, title=name))(settings)

    cli.end(run, data_error=data.DataError, before=peers.end_alone)


def train(settings: Any, *, title: str, begin: Mapping[str, Beginning] | None = None) -> Run:
    """Trains the model that the settings describe; ``begin`` is added to what they begin with."""
    place, source = settings.place, loaded(settings.place)
    options: dict[str, Any] = {"flip": place.flip, "crop": place.crop}
    if settings.training.evaluate_every:
        options["evaluate"] = _evaluation(settings, source)
    started = {**_begin(place.begin), **(begin or {})}
    return trained(settings, source, directory=place.workdir, title=title, begin=started, **options)


def trained(
    settings: Any,
    source: data.Source,
    *,
    directory: str | Path | None,
    title: str,
    begin: Mapping[str, Beginning] = {},
    **options: Any,
) -> Run:
    """The run of an experiment's settings on a source; stages, where it has them, share its seconds."""
    if isinstance(settings, Staged):
        if begin:
            raise ConfigError(f"--begin is of runs of one stage, and this one has more; leave {', '.join(begin)} out")
        stages = settings.stages()
        return gen_jax.fit_stages(
            stages, source, directory=directory, seconds=settings.training.seconds, title=title, **options
        )
    return gen_jax.fit(
        settings.model,
        source,
        training=settings.training,
        optimizers=settings.optimizer,
        directory=directory,
        begin=begin,
        title=title,
        **options,
    )


def codec_then_prior(settings: Staged[Any, Any]) -> tuple[Stage, Stage]:
    """The stages of a model with a codec: ``model.codec``, then ``model`` with it at rest."""
    recipes, share = settings.optimizer, settings.codec_share
    prior = {player: recipe for player, recipe in recipes.items() if player != "codec"}
    first = replace(settings.training, steps=settings.codec_steps)
    return (
        Stage("codec", settings.model.codec, first, recipes["codec"], share=share),
        Stage("prior", settings.model, settings.training, prior, keeps={"codec": From()}, share=1 - share),
    )


class Spent(NamedTuple):
    """What a run took, in all its stages and attempts."""

    train_seconds: float
    compile_seconds: float
    examples: int


def spent(directory: Path) -> Spent:
    """What the finished run in a directory took."""
    places = [directory / name for name in stage_names(directory) or [""]]
    newest = [newest_checkpoint(place) for place in places]
    facts = [Checkpoints(path.parent).metadata(int(path.name)) for path in newest]
    return Spent(*(sum(fact[name] for fact in facts) for name in ("seconds", "compile_seconds", "examples")))


def curve(directory: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``, of all stages in their order."""
    files = [directory / name / "metrics.jsonl" for name in stage_names(directory) or [""]]
    return [row for file in files for row in read_log(file)]


def small_preset(experiment: ModuleType, side: int) -> Any:
    """The settings of an experiment's module for images of this side, in minutes on a CPU."""
    presets: Mapping[str, Any] = experiment.PRESETS
    return presets["digits"] if side < SMALL_SIDE and "digits" in presets else presets["small"]


def loaded(place: Place) -> data.Source:
    """The data of a place."""
    return source_of(place.data, image_size=place.image_size or None)


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


def _type_of(settings: Any) -> Any:
    """The type to parse settings as: the generic ones with what this preset has in them."""
    if not isinstance(settings, Settings):
        return type(settings)
    optimizers = dict[str, Adam | RMSProp] if isinstance(settings.optimizer, dict) else type(settings.optimizer)
    generic: Any = type(settings)
    return generic[type(settings.model), optimizers]


def _evaluation(settings: Any, source: data.Source) -> Callable[[Run], str]:
    measuring, directory = settings.measuring, Path(settings.place.workdir)
    return ruler.during_training(
        source,
        directory,
        metrics=measuring.metrics,
        number=measuring.evaluate_images,
        seed=settings.training.seed,
    )


def _begin(written: Sequence[str]) -> dict[str, Beginning]:
    found: dict[str, Beginning] = {}
    for text in written:
        player, equals, place = text.partition("=")
        if not (player and equals and place):
            raise ConfigError(f"--begin: expected PLAYER=DIRECTORY, got {text!r}")
        found[player] = From.parse(place)
    return found


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


@contextmanager
def _joined(place: Place) -> Iterator[None]:
    """Computes with the other processes, where there are any.

    Raises:
      ConfigError: where the address has no host, or the environment of a slice does not say who they are.
    """
    if not place.coordinator:
        yield
        return
    options: dict[str, Any] = {"connect_seconds": place.connect_seconds, "lost_seconds": place.lost_seconds}
    options["show_runtime"] = cli.debugging()
    if place.coordinator == "auto":
        together, advice = peers.joined(None, **options), "give host:port, --processes and --process"
    else:
        host, _, port = place.coordinator.rpartition(":")
        try:
            socket.getaddrinfo(host.strip("[]"), int(port))
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"--coordinator {place.coordinator}: no such host ({error}); look at its name") from error
        together = peers.joined(place.coordinator, place.processes, place.process, **options)
        advice = "is the port taken?"
    with ExitStack() as held:
        try:
            held.enter_context(together)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"--coordinator {place.coordinator} finds no other processes ({error}); {advice}"
            ) from error
        yield
