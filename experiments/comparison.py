"""Models on the same data with the same budget of training time, measured by one ruler.

A :class:`Comparison` has a name and its contestants, each an experiment whose small preset is trained. Every one trains
for ``--seconds-per-model`` of wall-clock time, compilation counted apart, then draws as many images as are held out (at
most ``--generated``). Written are ``NAME.json``, ``report.html`` (self-contained) and ``report.png``. Interrupted, the
same command goes on with the models that are not done.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from experiments.comparison_pages import write_html, write_picture
from experiments.comparison_table import HELD_OUT, Bench, Column, cards, print_table, report_of, values
from experiments.launch import ENDLESS, Staged, curve, launch, small_preset, spent, trained
from gen_jax import DivergedError, data, evaluate, ruler
from gen_jax.checks import Count, Number, Positive, Within, plain
from gen_jax.cli import UsageError
from gen_jax.evaluate.card import to_dict
from gen_jax.run import Run
from gen_jax.settings import ConfigError
from gen_jax.train.files import write_atomically


class Contestant(NamedTuple):
    """A model with the family that it stands for."""

    name: str
    family: str
    experiment: ModuleType


class Comparison(NamedTuple):
    """A name, a title for the report, who takes part, and what is measured of each beside the usual figures."""

    name: str
    title: str
    contestants: tuple[Contestant, ...]
    columns: tuple[Column, ...] = ()
    also: Callable[[Run, data.Source], Mapping[str, float]] = lambda run, test: {}

    @property
    def presets(self) -> Mapping[str, "Settings"]:
        """Settings with everyone, and a directory of its own."""
        everyone = tuple(contestant.name for contestant in self.contestants)
        return {"small": Settings(workdir=f"runs/{self.name}", models=everyone)}

    def launch(self, doc: str | None) -> None:
        """The command line of it."""
        launch(self.presets, name=self.name, doc=doc, main=partial(compare, self))


@plain
class Settings:
    """Settings of a comparison."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    seconds_per_model: Positive = 60.0
    """Training time of every model and seed, seconds; compilation is counted apart."""
    seeds: Count = 1
    """Trainings of every model, from seeds 0, 1, ...; spreads are standard deviations over them."""
    workdir: str = "runs/comparison"
    """Directory of the report and of all runs."""
    models: tuple[str, ...] = ()
    """Which models take part."""
    generated: Annotated[int, Within(2)] = 2000
    """Images to generate, and of the held-out set, at most; all rows have the same number."""
    reference: Annotated[int, Within(2)] = 10_000
    """Images of the training split that are measured against, at most."""
    likelihood_images: Count = 200
    """Held-out images whose likelihood is averaged."""
    sampling_batch: Count = 250
    """Images drawn at a time."""
    image_size: Number = 0
    """Resize images to this side, pixels; 0 keeps their size."""


def compare(comparison: Comparison, settings: Settings) -> None:
    """Trains, measures and reports.

    Raises:
      UsageError: a model that is not one of the contestants.
    """
    contestants = _chosen(comparison, settings)
    directory = Path(settings.workdir)
    bench = _bench(settings)
    _claim(directory, settings, bench)
    console = Console(stderr=True)
    results = {
        contestant.name: [
            _result(comparison, contestant, seed, settings, bench, directory, console) for seed in range(settings.seeds)
        ]
        for contestant in contestants
    }
    report = report_of(comparison, contestants, results, settings, bench)
    write_atomically(directory / f"{comparison.name}.json", json.dumps(report, indent=1) + "\n")
    images = {HELD_OUT: bench.held_out}
    images |= {name: np.load(file) for name in results if (file := _part(directory, name, 0, ".npy")).exists()}
    write_picture(directory / "report.png", report, images)
    write_html(directory / "report.html", report, images)
    print_table(report)
    print(f"report: {directory / 'report.html'}")


def _chosen(comparison: Comparison, settings: Settings) -> list[Contestant]:
    known = [contestant.name for contestant in comparison.contestants]
    for name in settings.models:
        if name not in known:
            raise UsageError(f"--models: expected names of {', '.join(known)}, got {name!r}")
    return [contestant for contestant in comparison.contestants if contestant.name in settings.models]


def train(contestant: Contestant, source: data.Source, *, seconds: float, seed: int, directory: Path) -> Run:
    """A run of so many seconds of training; one that was interrupted goes on with the rest."""
    experiment = small_preset(contestant.experiment, source.shape[0])
    batch = experiment.training.batch_size and min(experiment.training.batch_size, source.size)
    budget = {"steps": ENDLESS, "seconds": seconds, "seed": seed, "batch_size": batch}
    training = replace(experiment.training, **budget, log_every=20 if batch else 1)
    changes: dict[str, Any] = {"training": replace(training, checkpoint_every=200 if batch else 5)}
    if isinstance(experiment, Staged):
        changes["codec_steps"] = ENDLESS
    settings = replace(experiment, **changes)
    return trained(settings, source, directory=directory, title=contestant.name)


def measure(run: Run, settings: Settings, bench: Bench) -> tuple[dict[str, Any], np.ndarray]:
    """Sampling speed, every metric and the likelihood, with the images that were measured."""
    number = len(bench.held_out)
    size = min(settings.sampling_batch, number)
    began = time.monotonic()
    run.sample(1, size, batch_size=size)  # compiles
    compiled = time.monotonic()
    images = run.sample(0, number, batch_size=size)
    sampled = time.monotonic()
    row: dict[str, Any] = {
        "sampling_seconds_per_1000": (sampled - compiled) * 1000 / number,
        "sampling_compile_seconds": max(0.0, (compiled - began) - (sampled - compiled) * size / number),
        "network_evaluations": run.model.network_evaluations,
    }
    generated = evaluate.summarise(evaluate.from_array(images, name=type(run.model).__name__, split=""), bench.network)
    figures = ruler.figures(generated, bench.reference, bench.network)
    origin = ruler.provenance(run, weights="EMA", seed=run.settings["training"]["seed"])
    row |= values(figures)
    row["cards"] = list(map(to_dict, cards(figures, generated, bench, origin)))
    row["bits_per_dim"], row["likelihood"] = _bits_per_dim(run, settings, bench)
    return row, images


def _bench(settings: Settings) -> Bench:
    size = settings.image_size or None
    train_set, test = (data.load(settings.data, split=split, image_size=size) for split in ("train", "test"))
    network = ruler.feature_network(train_set)
    reference = evaluate.summarise(evaluate.from_source(train_set, limit=settings.reference), network)
    held_out = ruler.reference_images(test, limit=settings.generated)
    return Bench(train_set, test, reference, held_out, network)


def _claim(directory: Path, settings: Settings, bench: Bench) -> None:
    """The directory belongs to one comparison; models and seeds may be added to it."""
    file = directory / "settings.json"
    mine = {**asdict(settings), "fingerprint": bench.train.fingerprint, "feature_hash": bench.network.hash}
    mine = json.loads(json.dumps({k: v for k, v in mine.items() if k not in ("workdir", "models", "seeds")}))
    if file.exists():
        theirs = json.loads(file.read_text())
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                raise ConfigError(
                    f"{directory} holds a comparison with {name} = {theirs.get(name)}, this one has {mine.get(name)};"
                    " choose another --workdir"
                )
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(mine, indent=1) + "\n")


def _result(
    comparison: Comparison,
    contestant: Contestant,
    seed: int,
    settings: Settings,
    bench: Bench,
    directory: Path,
    console: Console,
) -> dict[str, Any]:
    """The figures of one training, measured or as an earlier call has measured them."""
    done = _part(directory, contestant.name, seed, ".json")
    if done.exists():
        return json.loads(done.read_text())
    folder = directory / "runs" / f"{contestant.name}-{seed}"
    console.print(f"{contestant.name}: seed {seed}, {settings.seconds_per_model:g} seconds", highlight=False)
    done.parent.mkdir(exist_ok=True)
    try:
        run = train(contestant, bench.train, seconds=settings.seconds_per_model, seed=seed, directory=folder)
    except DivergedError as error:
        console.print(f"{contestant.name}: {error}", highlight=False)
        result: dict[str, Any] = {"failed": 1.0, "failure": str(error)}
    else:
        row, images = measure(run, settings, bench)
        np.save(_part(directory, contestant.name, seed, ".npy"), images)
        result = {**_training(run, folder), **row, **comparison.also(run, bench.test)}
        result["compile_seconds"] += row["sampling_compile_seconds"]
        metric = evaluate.metric_name("frechet_distance", bench.network.name)
        console.print(
            f"{contestant.name}: {metric} {row['frechet_distance']:.3g}, coverage {row['coverage']:.3g},"
            f" {row['sampling_seconds_per_1000']:.3g} s per 1,000 images",
            highlight=False,
        )
    write_atomically(done, json.dumps(result) + "\n")
    return result


def _training(run: Run, folder: Path) -> dict[str, Any]:
    """What the training of a run took and how it went."""
    took, rows = spent(folder), curve(folder)
    failure = run.model.warning(rows) if hasattr(run.model, "warning") else ""
    return {
        "parameters": _parameters(run),
        "steps": run.step,
        "images_seen": took.examples,
        "train_seconds": took.train_seconds,
        "compile_seconds": took.compile_seconds,
        "failed": float(bool(failure)),
        "failure": failure,
        "sampler": _sampler(run),
        "settings": run.settings,
        "curve": rows,
    }


def _part(directory: Path, name: str, seed: int, suffix: str) -> Path:
    return directory / "parts" / f"{name}-{seed}{suffix}"


def _parameters(run: Run) -> int:
    """Numbers that are learned: by gradient, or, in a model fitted by EM, carried in the buffers."""
    learned = sum(leaf.size for leaf in jax.tree.leaves(run.params))
    return learned or sum(leaf.size for leaf in jax.tree.leaves(run.buffers))


def _sampler(run: Run) -> dict[str, Any]:
    kept = ("sampler", "sampling_steps", "eta", "guidance", "steps")
    return {name: value for name, value in run.settings["model"].items() if name in kept}


def _bits_per_dim(run: Run, settings: Settings, bench: Bench) -> tuple[float | None, str | None]:
    kind = getattr(run.model, "log_prob_kind", None)
    if kind not in ("exact", "lower bound"):  # none, or of other data than 8-bit images
        return None, kind
    return float(ruler.likelihood(run, bench.test, settings.likelihood_images).mean()), kind
