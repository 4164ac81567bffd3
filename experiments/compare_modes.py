"""What GANs make of eight modes on a ring and of twenty-five on a grid, over several seeds.

    python -m experiments.compare_modes --seeds 5 --workdir runs/compare_modes

Not yet run to the end. Each model trains for the same number of steps on the same points, with its own optimizers; from
its averaged weights 2,500 samples are drawn. Written are ``modes.json`` and ``modes.md``: means over the seeds, and
their deviations, of the modes found, the share of good samples and the reverse KL (:mod:`gen_jax.evaluate.modes`). A
perfect sampler finds all modes with 0.989 good samples. Interrupted, the same command goes on with what is not done.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

import gen_jax
from experiments.launch import launch
from gen_jax import Adam, Training, data
from gen_jax.checks import Count, plain
from gen_jax.evaluate.modes import MIXTURES, Modes, modes
from gen_jax.models import Configuration, d2gan, gan, unrolled_gan, veegan
from gen_jax.train.files import write_atomically

FAST = Adam(learning_rate=1e-3, b1=0.5)
SLOW = Adam(learning_rate=1e-4, b1=0.5)


class Entrant(NamedTuple):
    """A model and what moves its players."""

    model: Configuration
    optimizers: Mapping[str, Adam]


ENTRANTS = {
    "GAN": Entrant(replace(unrolled_gan.SMALL, unroll=0), {"critic": SLOW, "generator": FAST}),
    "unrolled GAN": Entrant(unrolled_gan.SMALL, {"critic": SLOW, "generator": FAST}),
    "WGAN-GP": Entrant(gan.SMALL, {player: replace(FAST, b2=0.9) for player in ("critic", "generator")}),
    "D2GAN": Entrant(d2gan.SMALL, dict.fromkeys(("data_critic", "sample_critic", "generator"), FAST)),
    "VEEGAN": Entrant(veegan.SMALL, dict.fromkeys(("critic", "generator", "reconstructor"), FAST)),
}


@plain
class Settings:
    """Settings of the comparison."""

    data: tuple[Literal["ring", "grid"], ...] = ("ring", "grid")
    """Sets of points."""
    models: tuple[Literal["GAN", "unrolled GAN", "WGAN-GP", "D2GAN", "VEEGAN"], ...] = (
        "GAN",
        "unrolled GAN",
        "WGAN-GP",
        "D2GAN",
        "VEEGAN",
    )
    """Which models take part."""
    seeds: Count = 5
    """Runs of every model on every set, of seeds from 0."""
    steps: Count = 20_000
    """Of each run."""
    batch_size: Count = 512
    """Points a step."""
    samples: Count = 2500
    """Drawn of each run."""
    workdir: str = "runs/compare_modes"
    """Directory of the table and of all runs."""


def main(settings: Settings) -> None:
    """Trains what is not trained, draws, counts, and writes the table."""
    directory = Path(settings.workdir)
    rows = []
    for points in settings.data:
        source = data.load(points)
        for name in settings.models:
            found = [_run(name, source, points, seed, settings, directory) for seed in range(settings.seeds)]
            rows.append({"data": points, "model": name, "runs": [each._asdict() for each in found]})
    write_atomically(directory / "modes.json", json.dumps({"settings": vars(settings), "rows": rows}, indent=1) + "\n")
    table = markdown(rows)
    write_atomically(directory / "modes.md", table)
    print(table, end="")


def _run(name: str, source: data.Source, points: str, seed: int, settings: Settings, directory: Path) -> Modes:
    training = Training(
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=seed,
        log_every=1000,
        checkpoint_every=settings.steps,
        ema_ramp=0.2,
    )
    run = gen_jax.fit(
        ENTRANTS[name].model,
        source,
        training=training,
        optimizers=ENTRANTS[name].optimizers,
        directory=directory / "runs" / f"{points}_{name.replace(' ', '_').replace('-', '_').lower()}_{seed}",
        title=f"{name}, {points}, seed {seed}",
    )
    return modes(run.sample(seed, settings.samples, batch_size=settings.samples), MIXTURES[points]())


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table: means over the runs of a row, and deviations where there are two or more."""
    lines = ["| data | model | runs | modes found | good samples | reverse KL |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        figures = [_spread([each[name] for each in row["runs"]]) for name in Modes._fields]
        lines.append(f"| {row['data']} | {row['model']} | {len(row['runs'])} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3g}"
    return mean if len(values) < 2 or not np.isfinite(values).all() else f"{mean} ± {np.std(values, ddof=1):.2g}"


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="compare_modes", doc=__doc__, main=main)
