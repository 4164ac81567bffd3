"""A GAN with minibatch discrimination, virtual batch normalisation and one-sided label smoothing.

    python -m experiments.improved_gan --data digits --workdir runs/improved_gan

2 CPU cores for the small preset; not yet run to the end. ``--matching features`` lets the generator match features of
the critic, ``--history 0.01`` averages over the past (Salimans et al. 2016).
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import improved_gan

ADAM = {player: Adam(learning_rate=3e-4, b1=0.5) for player in ("critic", "generator")}
TRAINING = Training(steps=20_000, batch_size=100, checkpoint_every=1000)

PRESETS = {
    "small": Settings(improved_gan.SMALL, ADAM, TRAINING, Place(workdir="runs/improved_gan")),
    "reference": Settings(improved_gan.REFERENCE, ADAM, TRAINING, Place(data="cifar10", workdir="runs/improved_gan")),
}

if __name__ == "__main__":
    launch(PRESETS, name="improved_gan", doc=__doc__)
