"""Points in the plane by a generator that looks through steps of its critic.

    python -m experiments.unrolled_gan --data ring --workdir runs/unrolled_gan
    python -m gen_jax evaluate runs/unrolled_gan --metrics modes

2 CPU cores; not yet run to the end. ``--preset reference`` has the networks and optimizers of the authors' notebook
(Metz et al. 2017); ``--unroll 0`` is the plain GAN, ``--rate`` the size of the steps ahead.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import unrolled_gan

ADAM = {"critic": Adam(learning_rate=1e-4, b1=0.5), "generator": Adam(learning_rate=1e-3, b1=0.5)}
TRAINING = Training(steps=25_000, batch_size=512, log_every=500, checkpoint_every=5000)
PLACE = Place(data="ring", workdir="runs/unrolled_gan")

PRESETS = {
    "small": Settings(unrolled_gan.SMALL, ADAM, TRAINING, PLACE),
    "reference": Settings(unrolled_gan.REFERENCE, ADAM, TRAINING, PLACE),
}

if __name__ == "__main__":
    launch(PRESETS, name="unrolled_gan", doc=__doc__)
