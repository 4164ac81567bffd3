"""A variational autoencoder.

    python -m experiments.vae --data fashion_mnist --workdir runs/vae

Hardware: 2 CPU cores for the small preset. 8 minutes of them, which several other jobs shared, are 7,613 steps and give
FD-fashion 6.22 (2,000 images), coverage 0.13 and 3.60 bits/dim, a bound; reconstructions of held-out images have 4.78.
With beta 2, 10,762 steps in the same time, these are 7.23, 0.11, 3.51 and 4.04.

What it was before, convolutions under a Gaussian with one variance, had 16.2, 0.05 and 6.64. A minute each on the same
busy machine, of 1,000 samples and as many reconstructions, says why: convolutions see few images, one variance for all
pixels costs bits where pixels are always black, and the more nats pass the better are reconstructions and the less do
samples resemble them.

    network             p(x|z)     beta  steps  FD, samples  reconstructions  nats  bits/dim
    convolutions        gaussian      3    612        23.9         11.9         23      7.23
                        logistic      3    362        24.1         13.6         14      4.29
    perceptrons, tanh   gaussian      3  2,909        17.1          3.7         38      6.92
                        gaussian      8  2,076        13.2          5.7         15      7.12
                        gaussian     12  1,041        16.1          8.7         10      7.31
                        logistic      1  1,408        17.3          6.2         41      3.87
                        logistic      4  1,568        10.6          7.7         16      3.90
                        bernoulli     1  2,274         8.9          5.8         14
    perceptrons, silu   logistic      4  1,500        17.7          8.7         33

The Bernoulli's samples are good as well, but it is a likelihood of binarised images. Samples are means: a draw from
p(x|z) adds noise to them.

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
