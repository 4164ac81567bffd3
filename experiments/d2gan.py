"""Points in the plane by a generator against two critics.

    python -m experiments.d2gan --data ring --workdir runs/d2gan
    python -m gen_jax evaluate runs/d2gan --metrics modes

2 CPU cores; not yet run to the end. ``--preset reference`` has the networks and the optimizers of Nguyen et al. 2017,
whose ring is seven times as wide as this one.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import d2gan

PLAYERS = ("data_critic", "sample_critic", "generator")
TRAINING = Training(steps=25_000, batch_size=512, log_every=500, checkpoint_every=5000)
PLACE = Place(data="ring", workdir="runs/d2gan")

PRESETS = {
    "small": Settings(d2gan.SMALL, {player: Adam(learning_rate=1e-3, b1=0.5) for player in PLAYERS}, TRAINING, PLACE),
    "reference": Settings(d2gan.REFERENCE, {player: Adam(2e-4, b1=0.5) for player in PLAYERS}, TRAINING, PLACE),
}

if __name__ == "__main__":
    launch(PRESETS, name="d2gan", doc=__doc__)
