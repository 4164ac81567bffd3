"""The trilemma: every family on the same data with the same budget of training time, measured by one ruler.

    python -m experiments.trilemma --data digits --seconds-per-model 30 --workdir runs/trilemma
    python -m experiments.trilemma --data fashion_mnist --seconds-per-model 480 --workdir runs/trilemma_fashion

Every model trains for ``--seconds-per-model`` of wall-clock time, compilation counted apart, then draws as many images
as are held out (at most ``--generated``). Written are ``trilemma.json``, ``report.html`` (self-contained) and
``report.png``. Interrupted, the same command goes on with the models that are not done.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import dcgan, ddgan, ddpm, gmm, vae, vqvae
from experiments.launch import ENDLESS, Staged, curve, launch, small_preset, spent, trained
from experiments.trilemma_report import write_html, write_picture
from gen_jax import data, evaluate, ruler
from gen_jax.evaluate.card import to_dict
from gen_jax.run import Run
from gen_jax.settings import ConfigError
from gen_jax.train.files import write_atomically


class Contestant(NamedTuple):
    """A model with the family that it stands for."""

    name: str
    family: str
    experiment: ModuleType


CONTESTANTS = (
    Contestant("gmm", "classical", gmm),
    Contestant("vae", "VAE", vae),
    Contestant("vqvae", "VAE and autoregressive prior", vqvae),
    Contestant("dcgan", "GAN", dcgan),
    Contestant("ddpm", "diffusion", ddpm),
    Contestant("ddgan", "diffusion and GAN", ddgan),
)
METRICS = ("frechet_distance", "precision", "recall", "density", "coverage", "score")
MEASURED = (*METRICS, "bits_per_dim", "sampling_seconds_per_1000", "train_seconds", "compile_seconds", "images_seen")
HELD_OUT = "held-out real images"


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    seconds_per_model: float = 60.0
    """Training time of every model and seed, seconds; compilation is counted apart."""
    seeds: int = 1
    """Trainings of every model, from seeds 0, 1, ...; spreads are standard deviations over them."""
    workdir: str = "runs/trilemma"
    """Directory of the report and of all runs."""
    models: tuple[str, ...] = tuple(contestant.name for contestant in CONTESTANTS)
    """Which models take part."""
    generated: int = 2000
    """Images to generate, and of the held-out set, at most; all rows have the same number."""
    reference: int = 10_000
    """Images of the training split that are measured against, at most."""
    likelihood_images: int = 200
    """Held-out images whose likelihood is averaged."""
    sampling_batch: int = 250
    """Images drawn at a time."""
    image_size: int = 0
    """Resize images to this side, pixels; 0 keeps their size."""

    def __post_init__(self) -> None:
        known = [contestant.name for contestant in CONTESTANTS]
        for name in self.models:
            if name not in known:
                raise ValueError(f"--models: unknown model {name!r}; there are {', '.join(known)}")
        if self.seconds_per_model <= 0 or self.seeds < 1 or self.generated < 2:
            raise ValueError("--seconds-per-model must be above 0, --seeds at least 1 and --generated at least 2")


class Bench(NamedTuple):
    """What all models are trained on and measured against."""

    train: data.Source
    test: data.Source
    reference: evaluate.Statistics
    held_out: np.ndarray
    network: evaluate.FeatureNetwork


def main(settings: Settings) -> None:
    """Trains, measures and reports."""
    directory = Path(settings.workdir)
    bench = _bench(settings)
    _claim(directory, settings, bench)
    console = Console(stderr=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for contestant in CONTESTANTS:
        if contestant.name not in settings.models:
            continue
        results[contestant.name] = [
            _result(contestant, seed, settings, bench, directory, console) for seed in range(settings.seeds)
        ]
    report = _report(results, settings, bench, directory)
    write_atomically(directory / "trilemma.json", json.dumps(report, indent=1) + "\n")
    images = {HELD_OUT: bench.held_out} | {name: np.load(_part(directory, name, 0, ".npy")) for name in results}
    write_picture(directory / "report.png", report, images)
    write_html(directory / "report.html", report, images)
    _print_table(report)
    print(f"report: {directory / 'report.html'}")


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
    row |= _values(figures)
    row["cards"] = list(map(to_dict, _cards(figures, generated, bench, origin)))
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
    contestant: Contestant, seed: int, settings: Settings, bench: Bench, directory: Path, console: Console
) -> dict[str, Any]:
    done = _part(directory, contestant.name, seed, ".json")
    if done.exists():
        return json.loads(done.read_text())
    folder = directory / "runs" / f"{contestant.name}-{seed}"
    console.print(f"{contestant.name}: seed {seed}, {settings.seconds_per_model:g} seconds", highlight=False)
    run = train(contestant, bench.train, seconds=settings.seconds_per_model, seed=seed, directory=folder)
    row, images = measure(run, settings, bench)
    took = spent(folder)
    result = {
        "parameters": _parameters(run),
        "images_seen": took.examples,
        "train_seconds": took.train_seconds,
        "compile_seconds": took.compile_seconds + row.pop("sampling_compile_seconds"),
        **row,
        "sampler": _sampler(run),
        "settings": run.settings,
        "curve": curve(folder),
    }
    done.parent.mkdir(exist_ok=True)
    np.save(_part(directory, contestant.name, seed, ".npy"), images)
    write_atomically(done, json.dumps(result) + "\n")
    metric = evaluate.metric_name("frechet_distance", bench.network.name)
    console.print(
        f"{contestant.name}: {metric} {row['frechet_distance']:.3g}, coverage {row['coverage']:.3g},"
        f" {row['sampling_seconds_per_1000']:.3g} s per 1,000 images",
        highlight=False,
    )
    return result


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


def _report(
    results: Mapping[str, list[dict[str, Any]]], settings: Settings, bench: Bench, directory: Path
) -> dict[str, Any]:
    families = {contestant.name: contestant.family for contestant in CONTESTANTS}
    held_out_row, held_out_cards = _held_out(bench)
    rows = [held_out_row]
    for name, attempts in results.items():
        values = {key: [attempt[key] for attempt in attempts] for key in MEASURED}
        mean = {key: _statistic(np.mean, value) for key, value in values.items()}
        fixed = {key: attempts[0][key] for key in ("parameters", "network_evaluations", "likelihood", "sampler")}
        spread = {key: _statistic(np.std, value) if len(attempts) > 1 else None for key, value in values.items()}
        rows.append({"model": name, "family": families[name], **fixed, **mean, "spread": spread})
    cards = held_out_cards + [card for attempts in results.values() for card in _mean_cards(attempts)]
    return {
        "rows": rows,
        "protocol": {
            "data": bench.train.name,
            "image_shape": bench.train.shape,
            "train_size": bench.train.size,
            "seconds_per_model": settings.seconds_per_model,
            "seeds": list(range(settings.seeds)),
            "metric": evaluate.metric_name("frechet_distance", bench.network.name),
            "feature_network": bench.network.name,
            "feature_hash": bench.network.hash,
            "reference_split": bench.train.split,
            "reference_size": bench.reference.n,
            "reference_fingerprint": bench.reference.fingerprint,
            "generated_size": len(bench.held_out),
            "held_out_split": bench.test.split,
            "likelihood_images": min(settings.likelihood_images, bench.test.size),
            "metric_settings": asdict(ruler.SETTINGS),
            "weights": "EMA",
            "quantisation": "8 bits",
            "resize": f"to {settings.image_size}" if settings.image_size else "none",
            "sampling_batch": settings.sampling_batch,
            "devices": ruler.devices(),
            "versions": evaluate.versions(),
            "command": " ".join(["python -m experiments.trilemma", *sys.argv[1:]]),
        },
        "cards": list(map(to_dict, cards)),
        "curves": {name: attempts[0]["curve"] for name, attempts in results.items()},
        "settings": {name: attempts[0]["settings"] for name, attempts in results.items()},
    }


def _statistic(function: Any, values: list[Any]) -> float | None:
    return None if any(value is None for value in values) else float(function(values))


def _held_out(bench: Bench) -> tuple[dict[str, Any], list[evaluate.Card]]:
    real = evaluate.summarise(evaluate.from_source(bench.test, limit=len(bench.held_out)), bench.network)
    figures = ruler.figures(real, bench.reference, bench.network)
    nothing = dict.fromkeys(("parameters", "network_evaluations", "likelihood", "sampler", *MEASURED))
    row = {"model": HELD_OUT, "family": "reference", **nothing, **_values(figures), "spread": dict.fromkeys(MEASURED)}
    return row, _cards(figures, real, bench, evaluate.Provenance())


def _values(figures: Mapping[str, evaluate.Figure]) -> dict[str, float | None]:
    return {name: figures[name].value if name in figures else None for name in METRICS}


def _cards(
    figures: Mapping[str, evaluate.Figure], generated: evaluate.Statistics, bench: Bench, origin: evaluate.Provenance
) -> list[evaluate.Card]:
    kept = {name: figure for name, figure in figures.items() if name in METRICS}
    return evaluate.cards(kept, generated, bench.reference, provenance=origin, devices=ruler.devices())


def _mean_cards(attempts: list[dict[str, Any]]) -> list[evaluate.Card]:
    """The cards of the first seed, with the mean and the deviation over all seeds."""
    by_metric = zip(
        *([evaluate.Card.from_json(json.dumps(card)) for card in a["cards"]] for a in attempts), strict=True
    )
    means = []
    for cards in by_metric:
        values = [card.value for card in cards]
        seeds = tuple(seed for card in cards for seed in card.seeds)
        spread = float(np.std(values)) if len(values) > 1 else cards[0].spread
        means.append(replace(cards[0], value=float(np.mean(values)), spread=spread, seeds=seeds))
    return means


def _print_table(report: Mapping[str, Any]) -> None:
    columns = ("model", report["protocol"]["metric"], "precision", "recall", "coverage", "bits/dim", "s/1000", "NFE")
    table = Table(*columns)
    for row in report["rows"]:
        keys = ("frechet_distance", "precision", "recall", "coverage", "bits_per_dim", "sampling_seconds_per_1000")
        cells = ["" if row[key] is None else f"{row[key]:.3g}" for key in keys]
        table.add_row(
            row["model"], *cells, "" if row["network_evaluations"] is None else str(row["network_evaluations"])
        )
    Console(width=110).print(table)


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="trilemma", doc=__doc__, main=main)
