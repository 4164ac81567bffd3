"""Every sampler on one trained denoiser: quality and coverage against evaluations of the network.

    python -m experiments.edm --data fashion_mnist --workdir runs/edm
    python -m experiments.samplers --run runs/edm --generated 1000

The model is any diffusion of continuous time (edm, score_sde, flow_matching). All samplers visit the noises that are
even in (sigma / alpha)^(1/7), from where the model's own sampler begins to where it ends, as many as the evaluations
allow. Written beside the run are ``samplers/samplers.json``, ``samplers.md`` (the table) and ``samplers.png``.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import gen_jax
from experiments.launch import launch
from gen_jax import data, evaluate, ruler
from gen_jax.diffusion import langevin, samplers, solvers, times
from gen_jax.diffusion.precondition import ratio
from gen_jax.models import Diffusion, Model
from gen_jax.models.diffusion import Sampler
from gen_jax.run import Run
from gen_jax.settings import ConfigError
from gen_jax.train.files import write_atomically

METRICS = ("frechet_distance", "coverage")


class Entry(NamedTuple):
    """A sampler, and the steps that a number of evaluations allows."""

    sampler: Sampler
    steps: Callable[[int], int]


def _each(evaluations: int) -> int:
    return evaluations


def _heun(evaluations: int) -> int:
    return (evaluations + 1) // 2  # 2 S - 1


SAMPLERS = {
    "DDIM": Entry(samplers.ddim, _each),
    "ancestral": Entry(partial(samplers.ancestral, variance=samplers.fixed_small), _each),
    "Heun": Entry(solvers.heun, _heun),
    "Heun with churn": Entry(partial(solvers.heun, churn=20.0, churn_from=0.05, churn_to=50.0), _heun),
    "DPM-Solver++ 2M": Entry(solvers.dpm_solver_2m, _each),
    "DPM-Solver++ 2S": Entry(solvers.dpm_solver_2s, _heun),
    "UniPC 2": Entry(partial(solvers.unipc, order=2), _each),
    "UniPC 3": Entry(partial(solvers.unipc, order=3), _each),
    "Euler-Maruyama": Entry(
        partial(langevin.predictor_corrector, predictor=langevin.euler_maruyama, corrections=0), _each
    ),
    "reverse diffusion": Entry(partial(langevin.predictor_corrector, corrections=0), _each),
    "predictor and corrector": Entry(langevin.predictor_corrector, lambda evaluations: evaluations // 2),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    run: str = "runs/edm"
    """Directory of the trained model."""
    evaluations: tuple[int, ...] = (5, 9, 17, 33, 65)
    """Evaluations of the network per image, at most."""
    generated: int = 1000
    """Images drawn for every point."""
    samplers: tuple[str, ...] = tuple(SAMPLERS)
    """Which samplers take part."""
    seed: int = 0
    """Of the draws; all samplers start from the same noise."""


PRESETS = {"small": Settings(), "reference": Settings(evaluations=(5, 9, 17, 35, 79, 151), generated=50_000)}


def visited(model: Diffusion, steps: int) -> np.ndarray:
    """``[steps + 1]`` times of a model, even in (sigma / alpha)^(1/7), where it begins and ends by itself."""
    process, own = model.process, model.times
    if process.time is None:
        raise ConfigError("expected a model of continuous time, this one is a chain; take edm, score_sde or another")
    noisy = bool(process.sigma(jnp.asarray(float(own[-1]))) > 0)
    # a path that begins without signal begins just below
    first, last = (float(ratio(process, jnp.asarray(float(t)))) for t in (own[0], own[-1] if noisy else own[-2]))
    grid = times.karras(min(first, 1e3), last, steps, data=None if noisy else 0.0)
    inner = np.asarray(process.time(jnp.asarray(grid if noisy else grid[:-1], jnp.float32)), np.float64)
    return inner if noisy else np.append(inner, own[-1])


def main(settings: Settings) -> None:
    """Draws by every sampler, measures, and writes table and picture."""
    unknown = set(settings.samplers) - set(SAMPLERS)
    if unknown:
        raise ConfigError(f"unknown samplers {sorted(unknown)}; there are {sorted(SAMPLERS)}")
    run = gen_jax.load(settings.run)
    source = data.load(run.settings["data"]["name"], split="test", image_size=run.settings["data"]["resized"])
    network = ruler.feature_network(source)
    reference = evaluate.summarise(evaluate.from_source(source, limit=ruler.REFERENCE_LIMIT), network)
    rows = []
    for name in settings.samplers:
        for budget in settings.evaluations:
            images, seconds = draw(run, continuous(run, name, budget), settings.generated, settings.seed)
            figures = ruler.figures(images, reference, network)
            row = {"sampler": name, "evaluations": budget, "seconds": round(seconds, 3)}
            rows.append(row | {metric: figures[metric].value for metric in METRICS})
    folder = Path(settings.run) / "samplers"
    folder.mkdir(exist_ok=True)
    metric = evaluate.metric_name("frechet_distance", network.name)
    report = {"run": settings.run, "step": run.step, "generated": settings.generated, "reference": reference.n}
    report |= {"features": network.name, "metric": metric, "devices": ruler.devices(), "rows": rows}
    write_atomically(folder / "samplers.json", json.dumps(report, indent=1))
    write_picture(folder / "samplers.png", report)
    table = markdown(rows, metric)
    write_atomically(folder / "samplers.md", table)
    print(table, end="")


def continuous(run: Run, name: str, budget: int) -> Diffusion:
    """The model of a run, drawing by a sampler of :data:`SAMPLERS` in at most ``budget`` evaluations."""
    if not isinstance(run.model, Diffusion):
        raise ConfigError(f"expected a run of a diffusion model, got one of {type(run.model).__name__}")
    entry = SAMPLERS[name]
    when = visited(run.model, entry.steps(budget))
    return dataclasses.replace(run.model, sampler=entry.sampler, times=when, evaluations=budget)


def draw(run: Run, model: Model, number: int, seed: int) -> tuple[np.ndarray, float]:
    """Images, uint8 ``[number, H, W, C]``, of a run under another model of the same players, and seconds they take.

    The first of the batches, at most 250 images each, is not timed: it compiles.
    """
    changed = dataclasses.replace(run, model=model, programs={})  # those of the run draw by its own sampler
    batches = changed.draws(seed, number, batch_size=min(-(-number // 2), 250))
    first = next(batches)
    start = time.perf_counter()
    rest = list(batches)
    each = (time.perf_counter() - start) / max(1, number - len(first))
    return np.concatenate([first, *rest]), each * number


def markdown(rows: list[dict[str, Any]], metric: str) -> str:
    """The table: a row for each sampler, a column for each number of evaluations."""
    budgets = sorted({row["evaluations"] for row in rows})
    lines = [f"| {metric} / coverage | " + " | ".join(map(str, budgets)) + " |", "|---|" + "---:|" * len(budgets)]
    for name in dict.fromkeys(row["sampler"] for row in rows):
        own = {row["evaluations"]: row for row in rows if row["sampler"] == name}
        cells = [f"{own[n]['frechet_distance']:.2f} / {own[n]['coverage']:.2f}" for n in budgets]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_picture(path: Path, report: dict[str, Any]) -> None:
    """Both metrics against evaluations, a line for every sampler."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for axis, metric in zip(axes, METRICS):
        for colour, name in zip(colours, dict.fromkeys(row["sampler"] for row in report["rows"])):
            own = [row for row in report["rows"] if row["sampler"] == name]
            x, y = ([row[key] for row in own] for key in ("evaluations", metric))
            axis.plot(x, y, "o-", color=colour, label=name)
        axis.set(xscale="log", xlabel="evaluations of the network", ylabel=metric.replace("_", " "))
        axis.set_xticks(sorted({row["evaluations"] for row in report["rows"]}), labels=None)
        axis.get_xaxis().set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.minorticks_off()
    axes[0].set(yscale="log", ylabel=report["metric"])
    for ticks in (axes[0].yaxis.set_major_formatter, axes[0].yaxis.set_minor_formatter):
        ticks("{x:g}")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.suptitle(f"{report['run']}: {report['generated']} images each, against {report['reference']} held-out ones")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    launch(PRESETS, name="samplers", doc=__doc__, main=main)
