"""Every prior over the latents of one VAE, with the same training time: what a better prior is worth.

    python -m experiments.latent_priors --data fashion_mnist --codec-seconds 300 --seconds-per-prior 120

First the VAE is trained, or the one that ``--codec`` names is taken; then every prior, on draws from its posterior. The
rows "N(0, I)", the VAE by itself, and "reconstructions" of held-out images are the two ends: no prior is asked to make
better images than the decoder makes of true latents. Written are ``priors.json``, ``priors.md`` (the table) and
``priors.png`` (samples); interrupted, the same command goes on with what is not done. What it gave is in
``experiments/README.md``: on Fashion-MNIST FD-fashion 16.2 for N(0, I), 3.37 for a mixture, 2.46 for reconstructions.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

import gen_jax
from experiments.launch import ENDLESS, launch
from experiments.processes import write_picture
from gen_jax import Adam, Training, data, evaluate, ruler
from gen_jax.checks import Count, Number, Positive, plain
from gen_jax.evaluate.sharpness import detail
from gen_jax.models import Configuration, LatentConfig, flow, gmm, two_stage, vae
from gen_jax.models.edm import EDMConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.run import Run
from gen_jax.settings import ConfigError
from gen_jax.train.files import write_atomically

STANDARD, TRUE = "N(0, I)", "reconstructions"
METRICS = ("frechet_distance", "precision", "recall", "coverage")
FAST = Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=1.0, decay="cosine")


class Entrant(NamedTuple):
    """A prior, what moves it, and how many images a step; EM wants many."""

    prior: Configuration
    optimizer: Adam = FAST
    batch_size: int = 256


PRIORS = {
    "mixture": Entrant(gmm.GMMConfig(components=50), batch_size=10_000),
    "flow": Entrant(flow.SplineFlowConfig(depth=6, width=128)),
    "diffusion": Entrant(
        EDMConfig(Denoiser("mlp", channels=256, multipliers=(1,), blocks=4), data_spread=1.0, largest_noise=20.0)
    ),
    "second VAE": Entrant(two_stage.SMALL),
}


@plain
class Settings:
    """Settings of the comparison."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    codec: str = ""
    """Directory of a trained VAE without labels; empty: one is trained first."""
    codec_seconds: Positive = 60.0
    """Training time of that one, seconds."""
    seconds_per_prior: Positive = 60.0
    """Training time of every prior, seconds; compilation is counted apart."""
    priors: tuple[Literal["mixture", "flow", "diffusion", "second VAE"], ...] = (
        "mixture",
        "flow",
        "diffusion",
        "second VAE",
    )
    """Which priors take part."""
    latents: Literal["means", "draws"] = "draws"
    """What they learn: the means of the VAE's posterior, or draws from it."""
    generated: Count = 2000
    """Images drawn from each, and of the held-out set, at most."""
    workdir: str = "runs/latent_priors"
    """Directory of the table and of all runs."""
    seed: Number = 0
    """Of training and of the draws."""


def main(settings: Settings) -> None:
    """Trains what is not trained, draws, measures, and writes the table."""
    directory = Path(settings.workdir)
    (directory / "parts").mkdir(parents=True, exist_ok=True)
    train_set, test = (data.load(settings.data, split=split) for split in ("train", "test"))
    network = ruler.feature_network(train_set)
    reference = evaluate.summarise(evaluate.from_source(train_set, limit=ruler.REFERENCE_LIMIT), network)
    held_out = ruler.reference_images(test, limit=settings.generated)
    codec = _codec(settings, train_set, directory)
    rows, pictures = [], {}
    for name in (TRUE, STANDARD, *settings.priors):
        images, facts = _made(name, settings, codec, train_set, held_out, directory)
        figures = ruler.figures(images, reference, network)
        found = {metric: figures[metric].value for metric in METRICS}
        rows.append({"prior": name, **facts, **found, "detail": detail(images, held_out)})
        pictures[name] = images
    metric = evaluate.metric_name("frechet_distance", network.name)
    report = {"settings": asdict(settings), "metric": metric, "reference": reference.n, "rows": rows}
    write_atomically(directory / "priors.json", json.dumps(report, indent=1) + "\n")
    table = markdown(rows, metric)
    write_atomically(directory / "priors.md", table)
    write_picture(directory / "priors.png", pictures)
    print(table, end="")


def markdown(rows: list[dict[str, Any]], metric: str) -> str:
    """The table, a row a prior."""
    lines = [f"| prior | {metric} | precision | recall | coverage | detail | steps | s per 1,000 |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        figures = [f"{row[name]:.2f}" for name in (*METRICS, "detail")]
        trained = [f"{row['steps']:,}", f"{row['seconds_per_1000']:.2g}"] if "steps" in row else ["", ""]
        lines.append(f"| {row['prior']} | {' | '.join([*figures, *trained])} |")
    return "\n".join(lines) + "\n"


def _codec(settings: Settings, train_set: data.Source, directory: Path) -> Run:
    if settings.codec:
        return gen_jax.load(settings.codec)
    training = Training(
        steps=ENDLESS, seconds=settings.codec_seconds, batch_size=128, seed=settings.seed, checkpoint_every=1000,
        ema_ramp=0.2,
    )  # fmt: skip
    return gen_jax.fit(
        vae.CODEC,
        train_set,
        training=_batched(training, train_set),
        optimizers=Adam(learning_rate=1e-3, decay="cosine"),
        directory=directory / "runs" / "codec",
        title="codec",
    )


def _made(
    name: str, settings: Settings, codec: Run, train_set: data.Source, held_out: np.ndarray, directory: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Images by a prior, by this call or an earlier one, and what they took."""
    own = {k: v for k, v in asdict(settings).items() if k not in ("workdir", "priors")}
    part = directory / "parts" / f"{_file(name)}.json"
    if part.exists():
        kept = json.loads(part.read_text())
        if kept["settings"] != own:
            raise ConfigError(f"{part} was made with {kept['settings']}, this is {own}; choose another --workdir")
        return np.load(part.with_suffix(".npy")), kept["facts"]
    if name == TRUE:
        images, facts = codec.reconstruct(held_out), {}
    else:
        run = codec if name == STANDARD else _prior(name, settings, codec, train_set, directory)
        number = len(held_out)
        run.sample(1, min(number, 250), batch_size=250)  # compiles
        began = time.monotonic()
        images = run.sample(settings.seed, number, batch_size=250)
        seconds = (time.monotonic() - began) * 1000 / number
        facts = {"steps": run.step, "seconds_per_1000": seconds, "evaluations": run.model.network_evaluations}
    np.save(part.with_suffix(".npy"), images)
    write_atomically(part, json.dumps({"settings": own, "facts": facts}) + "\n")
    return images, facts


def _prior(name: str, settings: Settings, codec: Run, train_set: data.Source, directory: Path) -> Run:
    entrant = PRIORS[name]
    training = Training(
        steps=ENDLESS, seconds=settings.seconds_per_prior, batch_size=entrant.batch_size, seed=settings.seed,
        checkpoint_every=1000, ema_ramp=0.2,
    )  # fmt: skip
    return gen_jax.fit(
        LatentConfig(codec.configuration, entrant.prior, latents=settings.latents),
        train_set,
        training=_batched(training, train_set),
        optimizers=entrant.optimizer,
        directory=directory / "runs" / _file(name),
        begin={"codec": codec},
        title=name,
    )


def _batched(training: Training, source: data.Source) -> Training:
    """With a batch that is no larger than the set, and that the devices can share."""
    whole = source.size // jax.device_count() * jax.device_count()
    return replace(training, batch_size=min(training.batch_size or whole, whole))


def _file(name: str) -> str:
    return {STANDARD: "standard"}.get(name, name.replace(" ", "_").lower())


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="latent_priors", doc=__doc__, main=main)
