"""StyleGAN: a generator that is told by styles what to make at every resolution.

    python -m experiments.stylegan --data fashion_mnist --workdir runs/stylegan

Hardware: 2 CPU cores for the small preset; 90 seconds of them, shared with other work, are 744 steps and give
FD-fashion 10.7, precision 0.56, recall 0.09, coverage 0.02 (2,000 images): outlines of clothes, still speckled.
``--preset reference`` is the network of Karras et al. 2019 for 1024x1024 images at its full resolution: Adam at 0.003,
betas 0 and 0.99, batches of 32, gamma 10.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import stylegan

PRESETS = {
    "small": Settings(
        stylegan.SMALL,
        {player: Adam(learning_rate=4e-3, b1=0.0, b2=0.99) for player in ("critic", "generator")},
        Training(steps=6000, batch_size=16, checkpoint_every=1000),
        Place(workdir="runs/stylegan"),
    ),
    "reference": Settings(
        stylegan.REFERENCE,
        {player: Adam(learning_rate=3e-3, b1=0.0, b2=0.99) for player in ("critic", "generator")},
        Training(steps=781_250, batch_size=32, checkpoint_every=5000, ema_half_life=10_000),
        Place(workdir="runs/stylegan_reference", image_size=1024),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="stylegan", doc=__doc__)
