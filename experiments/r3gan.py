"""A relativistic GAN with both gradient penalties, the minimal modern one.

    python -m experiments.r3gan --data fashion_mnist --workdir runs/r3gan

2 CPU cores for the small preset, which has not been run to the end: 200 seconds of two cores that five programs shared,
243 steps, give blots (FD-fashion 21.1, 2,000 images); both penalties in every step cost most of the time. ``--preset
reference`` has the network, batch and augmentation of Huang et al. 2024 for CIFAR-10, without its schedules of beta2
and gamma.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import r3gan

PLAYERS = ("critic", "generator")
PAPER = dict.fromkeys(PLAYERS, Adam(learning_rate=2e-4, b1=0.0, b2=0.99, decay="cosine"))
QUICK = dict.fromkeys(PLAYERS, Adam(learning_rate=5e-4, b1=0.0, b2=0.99))

PRESETS = {
    "small": Settings(r3gan.SMALL, QUICK, Training(steps=10_000, checkpoint_every=1000), Place(workdir="runs/r3gan")),
    "reference": Settings(
        r3gan.REFERENCE,
        PAPER,
        Training(steps=500_000, batch_size=512, checkpoint_every=5000, ema_half_life=5e6),
        Place("cifar10", "runs/r3gan"),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="r3gan", doc=__doc__)
