"""A classifier that learns by telling examples from generated ones.

    python -m experiments.semi_supervised_gan --data digits --workdir runs/semi_supervised_gan

2 CPU cores for the small preset; not yet run to the end. Data by name have all their labels; a ``.npz`` with an array
``labelled`` of 0 and 1 says which are known. ``--preset reference`` is that of Salimans et al. 2016 for MNIST.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import semi_supervised_gan as model

ADAM = {player: Adam(learning_rate=3e-3, b1=0.5) for player in ("classifier", "generator")}
TRAINING = Training(steps=20_000, batch_size=100, checkpoint_every=1000)

PRESETS = {
    "small": Settings(model.SMALL, ADAM, TRAINING, Place(workdir="runs/semi_supervised_gan")),
    "reference": Settings(model.REFERENCE, ADAM, TRAINING, Place(data="mnist", workdir="runs/semi_supervised_gan")),
}

if __name__ == "__main__":
    launch(PRESETS, name="semi_supervised_gan", doc=__doc__)
