"""Every diffusion process with the same budget of training: quality, coverage and likelihood by process and sampler.

    python -m experiments.processes --data fashion_mnist --seconds-per-process 600 --workdir runs/processes

Each process trains as its own experiment's small preset does, on the same network, then draws in all the ways that
`PROCESSES` names. Written are ``processes.json``, ``processes.md`` (the table) and ``processes.png`` (samples).
Interrupted, the same command goes on with what is not done; a process is done when ``parts`` has its figures.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from experiments import consistency, ddpm, edm, flow_matching, score_sde, vdm
from experiments.launch import ENDLESS, launch, small_preset, trained
from experiments.samplers import METRICS, SAMPLERS, continuous, draw
from gen_jax import data, evaluate, ruler
from gen_jax.models.diffusion import Sampler
from gen_jax.pictures import image_grid
from gen_jax.protocol import Model
from gen_jax.run import Run
from gen_jax.settings import ConfigError
from gen_jax.train.files import write_atomically

matplotlib.use("agg")

import matplotlib.pyplot as plt


class Way(NamedTuple):
    """A way to draw.

    With ``changes`` in the model's configuration, by its own sampler at its own times, or by ``solver`` at those;
    without, by the one of :data:`experiments.samplers.SAMPLERS` that ``sampler`` names, in ``evaluations``.
    """

    sampler: str
    evaluations: int = 0
    changes: Mapping[str, Any] | None = None
    solver: Sampler | None = None


class Process(NamedTuple):
    """An experiment, what its model's configuration changes, and the ways to draw."""

    experiment: ModuleType
    changes: Mapping[str, Any]
    ways: tuple[Way, ...]


FEW = (Way("DDIM", 20), Way("Heun", 19), Way("DPM-Solver++ 2M", 20), Way("UniPC 2", 20))
REVERSE = (
    Way("reverse diffusion", changes={"sampling_steps": 100}),
    Way("reverse diffusion", changes={"sampling_steps": 50}),
    Way("the same, corrected", changes={"sampling_steps": 50, "corrections": 1}),
)
PROCESSES = {
    "DDPM": Process(
        ddpm,
        {},
        (
            Way("ancestral", changes={"sampler": "ancestral", "sampling_steps": 500}),
            Way("DDIM", changes={"sampling_steps": 50}),
            Way("DDIM", changes={"sampling_steps": 20}),
            Way("DPM-Solver++ 2M", changes={"sampling_steps": 20}, solver=SAMPLERS["DPM-Solver++ 2M"].sampler),
            Way("UniPC 2", changes={"sampling_steps": 20}, solver=SAMPLERS["UniPC 2"].sampler),
        ),
    ),
    "VP": Process(score_sde, {"path": "vp"}, (*REVERSE, *FEW)),
    "sub-VP": Process(score_sde, {"path": "sub_vp"}, (*REVERSE, *FEW)),
    "VE": Process(score_sde, {"path": "ve"}, (*REVERSE, *FEW)),
    "EDM": Process(edm, {}, (Way("Heun", changes={"sampling_steps": 18}), Way("ancestral", 100), *FEW)),
    "rectified flow": Process(
        flow_matching,
        {},
        (Way("Euler", changes={"sampling_steps": 100}), Way("Euler", changes={"sampling_steps": 20}), *FEW),
    ),
    "VDM": Process(
        vdm, {}, (Way("ancestral", changes={"sampling_steps": 100}), Way("ancestral", changes={"sampling_steps": 50}))
    ),
    "consistency": Process(
        consistency,
        {},
        (
            Way("one step", changes={"later_noises": ()}),
            Way("a second at noise 5", changes={"later_noises": (5.0,)}),
            Way("a second at noise 0.8", changes={"later_noises": (0.8,)}),
        ),
    ),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    seconds_per_process: float = 60.0
    """Training time of every process, seconds; compilation is counted apart."""
    workdir: str = "runs/processes"
    """Directory of the tables and of all runs."""
    processes: tuple[str, ...] = tuple(PROCESSES)
    """Which processes take part."""
    generated: int = 1000
    """Images drawn in every way."""
    likelihood_images: int = 64
    """Held-out images whose likelihood is averaged; 0 measures none."""
    seed: int = 0
    """Of training and of the draws."""

    def __post_init__(self) -> None:
        for name in self.processes:
            if name not in PROCESSES:
                raise ValueError(f"--processes: unknown process {name!r}; there are {', '.join(PROCESSES)}")
        if self.seconds_per_process <= 0 or self.generated < 2:
            raise ValueError("--seconds-per-process must be above 0 and --generated at least 2")


def main(settings: Settings) -> None:
    """Trains what is not trained, draws, measures, and writes the tables."""
    directory = Path(settings.workdir)
    directory.mkdir(parents=True, exist_ok=True)
    train_set, test = (data.load(settings.data, split=split) for split in ("train", "test"))
    network = ruler.feature_network(train_set)
    reference = evaluate.summarise(evaluate.from_source(train_set, limit=ruler.REFERENCE_LIMIT), network)
    rows: list[dict[str, Any]] = []
    for name in settings.processes:
        rows += _rows(name, settings, directory, train_set, test, reference, network)
    protocol = asdict(settings) | {
        "metric": evaluate.metric_name("frechet_distance", network.name),
        "reference": f"{reference.n} images of {train_set.name}/{train_set.split}",
        "devices": ruler.devices(),
        "versions": evaluate.versions(),
        "command": " ".join(["python -m experiments.processes", *sys.argv[1:]]),
    }
    write_atomically(directory / "processes.json", json.dumps({"protocol": protocol, "rows": rows}, indent=1) + "\n")
    table = markdown(rows, protocol["metric"])
    write_atomically(directory / "processes.md", table)
    write_picture(directory / "processes.png", {row["process"]: _images(directory, row["process"]) for row in rows})
    print(table, end="")


def process_run(name: str, settings: Settings, source: data.Source, directory: Path) -> Run:
    """The run of a process, trained for as long as the settings say, by this call and earlier ones."""
    process = PROCESSES[name]
    experiment = small_preset(process.experiment, source.shape[0])
    batch = min(experiment.training.batch_size, source.size)
    seconds = settings.seconds_per_process
    training = replace(experiment.training, steps=ENDLESS, seconds=seconds, seed=settings.seed, batch_size=batch)
    changed = replace(experiment, model=replace(experiment.model, **process.changes), training=training)
    return trained(changed, source, directory=directory, title=name)


def drawing(run: Run, way: Way) -> Model:
    """The model of a run, drawing in this way."""
    if way.changes is None:
        return continuous(run, way.sampler, way.evaluations)
    changed: Any = replace(run.configuration, **way.changes)  # type: ignore[type-var]
    model = changed.build(run.fields)
    return model if way.solver is None else replace(model, sampler=way.solver)


def bits_per_dim(run: Run, settings: Settings, test: data.Source) -> dict[str, Any]:
    """Mean and standard error over held-out images, and of which kind; nothing of a model without a likelihood."""
    if not settings.likelihood_images or not hasattr(run.model, "log_prob"):
        return {}
    bits = ruler.likelihood(run, test, settings.likelihood_images, seed=settings.seed)
    error = float(bits.std(ddof=1)) / len(bits) ** 0.5
    return {"bits_per_dim": float(bits.mean()), "bits_error": error, "likelihood": run.log_prob_kind}


def markdown(rows: list[dict[str, Any]], metric: str) -> str:
    """The table; a process's training and likelihood stand in its first row."""
    lines = [f"| process | bits/dim | sampler | evaluations | {metric} | coverage |"]
    lines.append("|---|---|---|---:|---:|---:|")
    before = ""
    for row in rows:
        first = row["process"] != before
        before = row["process"]
        name = f"{row['process']}, {row['steps']:,} steps" if first else ""
        bits = f"{row['bits_per_dim']:.2f} ± {row['bits_error']:.2f}" if first and "bits_per_dim" in row else ""
        bits += ", bound" if bits and row["likelihood"] == "lower bound" else ""
        figures = f"{row['frechet_distance']:.2f} | {row['coverage']:.3f}"
        lines.append(f"| {name} | {bits} | {row['sampler']} | {row['evaluations']} | {figures} |")
    return "\n".join(lines) + "\n"


def write_picture(path: Path, images: Mapping[str, np.ndarray]) -> None:
    """Samples of every process, by the first of its ways."""
    figure, axes = plt.subplots(len(images), 1, figsize=(10, 1.35 * len(images)), layout="constrained", squeeze=False)
    for axis, (name, pictures) in zip(axes.flat, images.items()):
        axis.imshow(image_grid(pictures[:32], columns=16, scale=2), cmap="gray", interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _rows(
    name: str,
    settings: Settings,
    directory: Path,
    train_set: data.Source,
    test: data.Source,
    reference: evaluate.Statistics,
    network: evaluate.FeatureNetwork,
) -> list[dict[str, Any]]:
    """Those of a process, measured or as an earlier call has measured them."""
    done = directory / "parts" / f"{_file(name)}.json"
    own = {"data": train_set.fingerprint} | {
        k: v for k, v in asdict(settings).items() if k not in ("workdir", "processes", "data")
    }
    if done.exists():
        part = json.loads(done.read_text())
        if part["settings"] != own:
            raise ConfigError(f"{done} was measured with {part['settings']}, this is {own}; choose another --workdir")
        return part["rows"]
    run = process_run(name, settings, train_set, directory / "runs" / _file(name))
    shared = {"process": name, "steps": run.step, "generated": settings.generated, **bits_per_dim(run, settings, test)}
    rows: list[dict[str, Any]] = []
    for way in PROCESSES[name].ways:
        model = drawing(run, way)
        images, seconds = draw(run, model, settings.generated, settings.seed)
        found = ruler.figures(images, reference, network)
        row = {"sampler": way.sampler, "evaluations": model.network_evaluations, "seconds": round(seconds, 3)}
        rows.append(shared | row | {metric: found[metric].value for metric in METRICS})
        print(f"{name}: {way.sampler} {row['evaluations']}  " + "  ".join(f"{m} {found[m].value:.3g}" for m in METRICS))
        if len(rows) == 1:
            done.parent.mkdir(exist_ok=True)
            np.save(done.with_suffix(".npy"), images[:64])
    write_atomically(done, json.dumps({"settings": own, "rows": rows}) + "\n")
    return rows


def _images(directory: Path, name: str) -> np.ndarray:
    return np.load(directory / "parts" / f"{_file(name)}.npy")


def _file(name: str) -> str:
    return name.replace(" ", "_").replace("-", "_").lower()


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="processes", doc=__doc__, main=main)
