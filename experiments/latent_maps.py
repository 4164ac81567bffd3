"""What lies where in a latent space: two-dimensional maps of an autoencoder beside VAEs, and traversals of latents.

    python -m experiments.latent_maps --data fashion_mnist --seconds-per-model 60 --workdir runs/latent_maps

``maps.png`` has a column a model: where the codes of held-out images are, coloured by class, and what the decoder makes
of an even grid over the middle 96 % of them along either axis (the frame). ``traversals.png`` has a panel for every
beta: a row a latent, the one with the most to say first, which goes from -2.5 to 2.5 while the others stay those of one
image. Written too is ``maps.json``: nats per latent, and how many say more than 0.01. Interrupted, the same command
goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

import gen_jax
from experiments.launch import ENDLESS, launch
from gen_jax import Adam, Training, data
from gen_jax.checks import Amount, Count, Number, Positive, plain
from gen_jax.data import prepare
from gen_jax.distributions import standard_normal_kl
from gen_jax.models import AutoencoderConfig, Configuration, VAEConfig
from gen_jax.networks.autoencoders import Coder
from gen_jax.pictures import image_grid
from gen_jax.programs import Program
from gen_jax.run import Run
from gen_jax.train.files import write_atomically

matplotlib.use("agg")

import matplotlib.pyplot as plt

REACH = 2.5  # of a traversal
ACTIVE = 0.01  # nats, of a latent that is used
DENSE = (512, 256)  # of all networks, perceptrons
ADAM = Adam(learning_rate=1e-3, decay="cosine")


@plain
class Settings:
    """Settings of the pictures."""

    data: str = "digits"
    """digits, fashion_mnist, a TFDS name, a folder of images, or a .npy or .npz file."""
    betas: tuple[Amount, ...] = (0.5, 1.0, 4.0, 16.0)
    """Weights of the KL term, a VAE of binarised pixels each."""
    latent: Count = 10
    """Latents of the VAEs that are traversed."""
    seconds_per_model: Positive = 30.0
    """Training time of each, seconds; compilation is counted apart."""
    points: Count = 2000
    """Held-out images whose codes are drawn, at most."""
    side: Count = 12
    """Images along either axis of a map."""
    steps: Count = 9
    """Images of a traversal."""
    example: Number = 0
    """The held-out image whose other latents stay."""
    workdir: str = "runs/latent_maps"
    """Directory of the pictures and of all runs."""
    seed: Number = 0
    """Of training."""


def main(settings: Settings) -> None:
    """Trains what is not trained, and draws."""
    directory = Path(settings.workdir)
    train_set, test = (data.load(settings.data, split=split) for split in ("train", "test"))
    batch = test.read(np.arange(min(settings.points, test.size)))
    flat: Mapping[str, Configuration] = {
        "autoencoder": AutoencoderConfig(Coder(latent=2, widths=(), dense=DENSE)),
        **{f"beta {beta:g}": _vae(beta, 2) for beta in settings.betas},
    }
    deep = {f"beta {beta:g}": _vae(beta, settings.latent) for beta in settings.betas}
    maps = {name: _run(f"2_{name}", model, settings, train_set, directory) for name, model in flat.items()}
    wide = {
        name: _run(f"{settings.latent}_{name}", model, settings, train_set, directory) for name, model in deep.items()
    }
    nats = {name: used(run, batch["image"]) for name, run in wide.items()}
    _draw_maps(directory / "maps.png", maps, batch, settings)
    _draw_traversals(directory / "traversals.png", wide, nats, batch["image"][settings.example], settings)
    rows = {name: {"nats": x.tolist(), "active": int((x > ACTIVE).sum())} for name, x in nats.items()}
    write_atomically(directory / "maps.json", json.dumps({"settings": asdict(settings), "rows": rows}, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{name}: {sum(row['nats']):.1f} nats through {row['active']} of {settings.latent} latents")


def used(run: Run, images: np.ndarray) -> np.ndarray:
    """Mean KL of every latent over images as they are stored, nats ``[latent]``."""
    mean, log_variance = Program(run.model.encode)(run.params, run.buffers, prepare({"image": images})["image"])  # type: ignore[attr-defined]
    return np.asarray(standard_normal_kl(mean, log_variance).mean(axis=0))


def decoded(run: Run, z: np.ndarray) -> np.ndarray:
    """Images of latents ``[N, latent]``, uint8."""
    made = Program(run.model.from_latents)(run.params, run.buffers, z.astype(np.float32))  # type: ignore[attr-defined]
    return np.asarray(run.makes.kind.store(made))


def grid(codes: np.ndarray, side: int) -> np.ndarray:
    """``[side^2, 2]`` even over the middle 96 % of codes along either axis, the topmost row first."""
    low, high = np.quantile(codes, [0.02, 0.98], axis=0)
    x, y = (np.linspace(a, b, side) for a, b in zip(low, high))
    return np.stack([np.tile(x, side), np.repeat(y[::-1], side)], axis=1)


def traversal(code: np.ndarray, latents: np.ndarray, steps: int) -> np.ndarray:
    """``[len(latents) * steps, latent]``: a code whose latents go from -2.5 to 2.5, one after the other."""
    rows = np.tile(code, (len(latents), steps, 1))
    for row, latent in zip(rows, latents):
        row[:, latent] = np.linspace(-REACH, REACH, steps)
    return rows.reshape(-1, len(code))


def _vae(beta: float, latent: int) -> VAEConfig:
    return VAEConfig(latent=latent, widths=(), dense=DENSE, likelihood="bernoulli", beta=beta)


def _run(name: str, model: Configuration, settings: Settings, source: data.Source, directory: Path) -> Run:
    training = Training(
        steps=ENDLESS, seconds=settings.seconds_per_model, batch_size=min(128, source.size), seed=settings.seed,
        checkpoint_every=10_000, ema_ramp=0.2,
    )  # fmt: skip
    place = directory / "runs" / name.replace(" ", "_")
    return gen_jax.fit(model, source, training=training, optimizers=ADAM, directory=place, title=name)


def _draw_maps(path: Path, runs: Mapping[str, Run], batch: Mapping[str, np.ndarray], settings: Settings) -> None:
    figure, axes = plt.subplots(2, len(runs), figsize=(3.2 * len(runs), 6.4), layout="constrained", squeeze=False)
    for (above, below), (name, run) in zip(axes.T, runs.items()):
        codes = run.encode(batch["image"])
        above.scatter(*codes.T, c=batch.get("label"), s=3, cmap="tab10", linewidths=0)
        places = grid(codes, settings.side)
        (low, high) = places.min(axis=0), places.max(axis=0)
        above.add_patch(plt.Rectangle(low, *(high - low), fill=False, color="black", linewidth=0.8))
        above.set_title(name)
        above.tick_params(labelsize=6)
        _show(below, image_grid(decoded(run, places), columns=settings.side, scale=1))
    _save(figure, path)


def _draw_traversals(
    path: Path, runs: Mapping[str, Run], nats: Mapping[str, np.ndarray], image: np.ndarray, settings: Settings
) -> None:
    figure, axes = plt.subplots(1, len(runs), figsize=(3.2 * len(runs), 4.0), layout="constrained", squeeze=False)
    for axis, (name, run) in zip(axes.flat, runs.items()):
        order = np.argsort(-nats[name], kind="stable")
        code = run.encode(image[None])[0]
        pictures = decoded(run, traversal(code, order, settings.steps))
        _show(axis, image_grid(pictures, columns=settings.steps, scale=1))
        side = image.shape[0] + 1
        axis.set_yticks(
            side * (np.arange(len(order)) + 0.5), [f"{nats[name][latent]:.2f}" for latent in order], fontsize=6
        )
        axis.set_title(f"{name}: nats, and {-REACH:g} to {REACH:g}", fontsize=9)
    _save(figure, path)


def _show(axis: Any, picture: Any) -> None:
    axis.imshow(picture, cmap="gray", interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


PRESETS = {"small": Settings()}

if __name__ == "__main__":
    launch(PRESETS, name="latent_maps", doc=__doc__, main=main)
