"""Points in the plane by a VEEGAN.

    python -m experiments.veegan --data ring --workdir runs/veegan
    python -m gen_jax evaluate runs/veegan --metrics modes

2 CPU cores; not yet run to the end. ``--preset reference`` has the widths and the optimizer that Srivastava et al. 2017
use for digits.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import veegan

PLAYERS = ("critic", "generator", "reconstructor")
POINTS = Training(steps=10_000, batch_size=256, log_every=500, checkpoint_every=5000)
ADAM = {player: Adam(learning_rate=1e-3, b1=0.5) for player in PLAYERS}
DIGITS = {player: Adam(learning_rate=1e-3, b1=0.7) for player in PLAYERS}

PRESETS = {
    "small": Settings(veegan.SMALL, ADAM, POINTS, Place(data="ring", workdir="runs/veegan")),
    "reference": Settings(veegan.REFERENCE, DIGITS, Training(), Place(data="mnist", workdir="runs/veegan")),
}

if __name__ == "__main__":
    launch(PRESETS, name="veegan", doc=__doc__)
