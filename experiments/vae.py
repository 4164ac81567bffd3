"""A variational autoencoder.

    python -m experiments.vae --data fashion_mnist --workdir runs/vae

Hardware: 2 CPU cores for the small preset; 8 minutes of them give FD-fashion 16.2 (2,000 images) and 6.64 bits/dim.
``--preset reference`` is architecture B of Burgess et al. 2018 for 64x64 images, ``--preset dense`` the network of
Burda et al. 2016 on 28x28 binarised images, whose paper reports 86.76 nats for one sample after 3,280 epochs on MNIST.
``--preset iwae_reference`` is its network of two layers of latents by its schedule, 82.90 nats for 50 samples there.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import iwae, vae

IWAE_STAGES = tuple((3**stage - 1) / (3**8 - 1) for stage in range(1, 8))  # of its eight, each thrice the last one
PRESETS = {
    "small": Settings(
        vae.SMALL,
        Adam(learning_rate=1e-3, decay="cosine"),
        Training(steps=20_000, batch_size=128, checkpoint_every=1000, ema_ramp=0.2),
        Place(workdir="runs/vae"),
    ),
    "reference": Settings(
        vae.REFERENCE,
        Adam(learning_rate=5e-4),
        Training(steps=300_000, batch_size=64, checkpoint_every=5000),
        Place(workdir="runs/vae"),
    ),
    "dense": Settings(
        vae.DENSE_REFERENCE,
        Adam(learning_rate=1e-3, decay="cosine"),
        Training(steps=400_000, batch_size=100, checkpoint_every=5000),
        Place(workdir="runs/vae_dense"),
    ),
    "iwae": Settings(
        iwae.SMALL,
        Adam(learning_rate=1e-3, decay="cosine"),
        Training(steps=10_000, batch_size=128, checkpoint_every=1000),
        Place(workdir="runs/iwae"),
    ),
    "iwae_reference": Settings(
        iwae.REFERENCE,
        Adam(learning_rate=1e-3, decay="steps", milestones=IWAE_STAGES, factor=10 ** (-1 / 7), eps=1e-4),
        Training(steps=9_840_000, batch_size=20, checkpoint_every=10_000),
        Place(workdir="runs/iwae_reference"),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vae", doc=__doc__)
