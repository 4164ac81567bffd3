"""A Wasserstein GAN whose critic has a gradient penalty.

    python -m experiments.wgan_gp --data fashion_mnist --workdir runs/wgan_gp

2 CPU cores for the small preset, which has not been run to the end: 150 seconds of two cores that five programs shared,
537 steps, give shapes of clothes, coarse, and FD-fashion 23.0 (1,000 images). ``--preset reference``, ``colour`` and
``digits`` have the networks and settings of Gulrajani et al. 2017; ``--net.network`` chooses others.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import wgan_gp

PLAYERS = ("critic", "generator")
PAPER = dict.fromkeys(PLAYERS, Adam(learning_rate=1e-4, b1=0.5, b2=0.9))
RESIDUAL = dict.fromkeys(PLAYERS, Adam(learning_rate=2e-4, b1=0.0, b2=0.9, decay="linear"))
QUICK = dict.fromkeys(PLAYERS, Adam(learning_rate=5e-4, b1=0.5, b2=0.9))
LONG, COLOUR = Training(steps=500_000, batch_size=64, checkpoint_every=5000), Place("cifar10", "runs/wgan_gp")

PRESETS = {
    "small": Settings(
        wgan_gp.SMALL, QUICK, Training(steps=10_000, checkpoint_every=1000), Place(workdir="runs/wgan_gp")
    ),
    "reference": Settings(wgan_gp.REFERENCE, RESIDUAL, LONG, COLOUR),
    "colour": Settings(wgan_gp.COLOUR, PAPER, LONG, COLOUR),
    "digits": Settings(wgan_gp.DIGITS, PAPER, LONG, Place("mnist", "runs/wgan_gp")),
}

if __name__ == "__main__":
    launch(PRESETS, name="wgan_gp", doc=__doc__)
