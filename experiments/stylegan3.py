"""StyleGAN3: a generator whose details move with what they belong to.

    python -m experiments.stylegan3 --data fashion_mnist --workdir runs/stylegan3

Hardware: 2 CPU cores for the small preset; not yet trained on them: a turn of the generator,
of 16 images, takes a second of them. ``--preset reference`` and ``--preset rotations``
are T and R of Karras et al. 2021 for 1024x1024 images: Adam at 0.0025 and 0.002, betas 0 and 0.99, batches of 32, gamma
32.8.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import stylegan3

LAZY = {
    "critic": Adam(learning_rate=0.002 * 16 / 17, b1=0.0, b2=0.99 ** (16 / 17)),
    "generator": Adam(learning_rate=0.0025, b1=0.0, b2=0.99),
}
PAPER = Training(steps=781_250, batch_size=32, checkpoint_every=5000, ema_half_life=10_000)
LARGE = Place(workdir="runs/stylegan3_reference", image_size=1024)

PRESETS = {
    "small": Settings(
        stylegan3.SMALL,
        {player: Adam(learning_rate=4e-3, b1=0.0, b2=0.99) for player in ("critic", "generator")},
        Training(steps=6000, batch_size=16, checkpoint_every=1000),
        Place(workdir="runs/stylegan3"),
    ),
    "reference": Settings(stylegan3.REFERENCE, LAZY, PAPER, LARGE),
    "rotations": Settings(stylegan3.ROTATIONS, LAZY, PAPER, LARGE),
}

if __name__ == "__main__":
    launch(PRESETS, name="stylegan3", doc=__doc__)
