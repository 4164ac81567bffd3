"""A GAN whose players are told the label.

    python -m experiments.cgan --data digits --workdir runs/cgan

2 CPU cores for the small preset; not yet run to the end. ``--preset reference`` has the networks of Mirza and Osindero
2014 for MNIST.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import cgan

ADAM = {player: Adam(learning_rate=2e-4, b1=0.5) for player in ("critic", "generator")}
TRAINING = Training(steps=20_000, batch_size=100, checkpoint_every=1000)

PRESETS = {
    "small": Settings(cgan.SMALL, ADAM, TRAINING, Place(workdir="runs/cgan")),
    "reference": Settings(cgan.REFERENCE, ADAM, TRAINING, Place(data="mnist", workdir="runs/cgan")),
}

if __name__ == "__main__":
    launch(PRESETS, name="cgan", doc=__doc__)
