"""A Wasserstein GAN: a critic of small weights, trained five times as often as its generator.

    python -m experiments.wgan --data fashion_mnist --workdir runs/wgan

2 CPU cores for the small preset; not yet run to the end. ``--preset reference`` has the settings of Arjovsky et al.
2017 for 64x64 images: RMSProp at 5e-5, weights within 0.01, batches of 64.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import RMSProp, Training
from gen_jax.models import wgan

PAPER = {"critic": RMSProp(5e-5, clip_weights=0.01), "generator": RMSProp(5e-5)}
QUICK = {"critic": RMSProp(2e-4, clip_weights=0.01), "generator": RMSProp(2e-4)}

PRESETS = {
    "small": Settings(
        wgan.SMALL, QUICK, Training(steps=20_000, batch_size=64, checkpoint_every=1000), Place(workdir="runs/wgan")
    ),
    "reference": Settings(
        wgan.REFERENCE,
        PAPER,
        Training(steps=500_000, batch_size=64, checkpoint_every=5000),
        Place(workdir="runs/wgan", image_size=64),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="wgan", doc=__doc__)
