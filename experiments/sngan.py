"""A GAN whose critic is under spectral normalisation.

    python -m experiments.sngan --data fashion_mnist --workdir runs/sngan

2 CPU cores for the small preset, which has not been run to the end: 150 seconds of two cores that five programs shared,
162 steps, give blots as large as clothes. ``--preset reference`` has the networks and settings of Miyato et al. 2018
for CIFAR-10; ``--conditional`` tells the class to both players.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import sngan

PLAYERS = ("critic", "generator")
PAPER = dict.fromkeys(PLAYERS, Adam(learning_rate=2e-4, b1=0.0, b2=0.9, decay="linear"))
QUICK = dict.fromkeys(PLAYERS, Adam(learning_rate=4e-4, b1=0.0, b2=0.9))

PRESETS = {
    "small": Settings(sngan.SMALL, QUICK, Training(steps=10_000, checkpoint_every=1000), Place(workdir="runs/sngan")),
    "reference": Settings(
        sngan.REFERENCE,
        PAPER,
        Training(steps=250_000, batch_size=64, checkpoint_every=5000),
        Place("cifar10", "runs/sngan"),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="sngan", doc=__doc__)
