"""A hidden Markov model fitted by Baum and Welch's expectation maximisation.

    python -m experiments.hmm --data letters --workdir runs/letters --seed 3
    python -m experiments.hmm --preset persistent --data phage --workdir runs/phage

Hardware: 2 CPU cores, 0.01 seconds a step on either. Every step is one of EM on the whole training split,
which has nothing to move by an optimizer: the model lies in the buffers.

letters (50,000 letters of Debian's fortunes): after 100 to 200 steps -2.762 nats a letter, -2.765 on the 10,000 that
follow; one state is the space and the vowels,

    _ 0.378  e 0.189  o 0.129  a 0.127  i 0.115  u 0.043  h 0.010     stays with probability 0.285
    t 0.144  n 0.109  s 0.104  r 0.101  h 0.071  l 0.066  d 0.064     stays with probability 0.277

Of eight starts five end there; the others stop at -2.795 to -2.836, which more steps do not mend.

phage (DNA of lambda, pieces of 2,000 bases): after 100 steps -1.3768 nats a base, -1.3675 on the pieces held out, where
bases drawn alone have -1.3882; a state of GC content 0.417 that stays with probability 0.99961, and one of 0.545 with
0.99993. Fitted to all 24 pieces: 0.405 with 0.99960, 0.546 with 0.99983. Of six starts with
``--stay`` 0.99 five end there, with 0.9 two, with 0.5 none.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import hmm

TRAINING = Training(steps=200, log_every=10, checkpoint_every=100, ema_half_life=0)

PRESETS = {
    "small": Settings(hmm.SMALL, Adam(), TRAINING, Place(data="letters", workdir="runs/hmm")),
    "reference": Settings(hmm.REFERENCE, Adam(), TRAINING, Place(data="letters", workdir="runs/hmm")),
    "persistent": Settings(hmm.PERSISTENT, Adam(), TRAINING, Place(data="phage", workdir="runs/phage")),
}


if __name__ == "__main__":
    launch(PRESETS, name="hmm", doc=__doc__)
