"""StyleGAN2: a generator whose weights are modulated by styles.

    python -m experiments.stylegan2 --data fashion_mnist --workdir runs/stylegan2

Hardware: 2 CPU cores for the small preset; 150 seconds of them, shared with other work, are 1,731 steps and give
FD-fashion 6.32, precision 0.64, recall 0.25, coverage 0.04 (2,000 images): clothes that can be told apart, striped.
Batches of 32 at half the learning rate were still smears then. ``--preset reference`` is configuration F of Karras et
al. 2020 for 1024x1024 images: Adam at 0.002 without a first moment, batches of 32, gamma 10, lazy penalties.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import stylegan2

SMALL = {player: Adam(learning_rate=4e-3, b1=0.0, b2=0.99) for player in ("critic", "generator")}
LAZY = {
    "critic": Adam(learning_rate=0.002 * 16 / 17, b1=0.0, b2=0.99 ** (16 / 17)),
    "generator": Adam(learning_rate=0.002 * 4 / 5, b1=0.0, b2=0.99 ** (4 / 5)),
}
PAPER = Training(steps=781_250, batch_size=32, checkpoint_every=5000, ema_half_life=10_000)

PRESETS = {
    "small": Settings(
        stylegan2.SMALL, SMALL, Training(steps=6000, batch_size=16, checkpoint_every=1000), Place(workdir="runs/style")
    ),
    "reference": Settings(stylegan2.REFERENCE, LAZY, PAPER, Place(workdir="runs/stylegan2", image_size=1024)),
}

if __name__ == "__main__":
    launch(PRESETS, name="stylegan2", doc=__doc__)
