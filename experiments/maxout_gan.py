"""The GAN of 2014: rectifiers against maxout units with dropout.

    python -m experiments.maxout_gan --data digits --workdir runs/maxout_gan

2 CPU cores for the small preset; not yet run to the end. ``--preset reference`` has the networks of Goodfellow et al.
2014 for MNIST, ``--loss minimax`` the generator's other loss.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import maxout_gan

ADAM = {player: Adam(learning_rate=2e-4, b1=0.5) for player in ("critic", "generator")}
TRAINING = Training(steps=20_000, batch_size=100, checkpoint_every=1000)

PRESETS = {
    "small": Settings(maxout_gan.SMALL, ADAM, TRAINING, Place(workdir="runs/maxout_gan")),
    "reference": Settings(maxout_gan.REFERENCE, ADAM, TRAINING, Place(data="mnist", workdir="runs/maxout_gan")),
}

if __name__ == "__main__":
    launch(PRESETS, name="maxout_gan", doc=__doc__)
