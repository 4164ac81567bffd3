"""A VAE, and then one of what it leaves over: coarse images, refined.

    python -m experiments.residual_vae --data fashion_mnist --workdir runs/residual_vae

After Cai, Gao and Ji 2017 (arXiv:1705.07202). At its end the command measures blur on held-out images: how much energy
above a quarter of a cycle a pixel reconstructions and samples of either stage have, as a share of what real images have
(:mod:`gen_jax.evaluate.sharpness`).

Three minutes of the first stage and two, 1,309 steps, of the second, on 2 CPU cores that several other jobs shared, of
1,000 images; errors are squares of pixels in [-1, 1]:

    stages   squared error   detail of reconstructions   of samples
    first        0.0388                 0.36                0.24
    both         0.0294                 0.45                0.28

FD-fashion of reconstructions falls from about 2.5 to 1.5, that of samples from 16.2 to 15.5: the first stage's latents
are still from N(0, I). 27 nats pass the second stage. Without its warm-up they were none after a hundred steps. What is
left of a sample's blur is that of means: neither stage draws the noise of p(x|z).
"""

from pathlib import Path
from typing import Any

import numpy as np

import gen_jax
from experiments.launch import Place, Staged, launch, train
from gen_jax import Adam, Training, ruler
from gen_jax.evaluate.sharpness import detail
from gen_jax.models import residual_vae
from gen_jax.run import Run
from gen_jax.settings import stage_names

ADAM = {"codec": Adam(learning_rate=1e-3, decay="cosine"), "refiner": Adam(learning_rate=1e-3, decay="cosine")}
TRAINING = Training(steps=10_000, batch_size=128, checkpoint_every=1000, ema_ramp=0.2)
MEASURED = 1000  # images, at most


def main(settings: Any) -> None:
    """Trains both stages, and prints how sharp they are."""
    run = train(settings, title="residual_vae")
    directory = Path(settings.place.workdir)
    first, _ = stage_names(directory)
    images = ruler.reference_images(ruler.held_out(run), limit=MEASURED)
    print(table({"first stage": gen_jax.load(directory / first), "both stages": run}, images), end="")


def table(runs: dict[str, Run], images: np.ndarray) -> str:
    """Error a pixel in [-1, 1] of reconstructed images, and the detail of these and of as many samples."""
    lines = ["| model | squared error | detail of reconstructions | detail of samples |", "|---|---:|---:|---:|"]
    for name, run in runs.items():
        made = run.reconstruct(images)
        error = np.square((made.astype(np.float64) - images) / 127.5).mean()
        sharp = [detail(x, images) for x in (made, run.sample(0, len(images)))]
        lines.append(f"| {name} | {error:.4f} | {sharp[0]:.2f} | {sharp[1]:.2f} |")
    return "\n".join(lines) + "\n"


PRESETS = {
    "small": Staged(residual_vae.SMALL, ADAM, TRAINING, Place(workdir="runs/residual_vae"), codec_steps=10_000),
}

if __name__ == "__main__":
    launch(PRESETS, name="residual_vae", doc=__doc__, main=main)
