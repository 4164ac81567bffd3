"""A VQ-VAE and, on its codes, a causal transformer as the prior: first one is trained, then the other.

    python -m experiments.vqvae --data fashion_mnist --workdir runs/vqvae

Hardware: 2 CPU cores for the small preset; 8 minutes of them, half for each stage, give FD-fashion 3.24 (2,000 images)
and 6.48 bits/dim. ``--preset reference`` has the layout and the settings of DeepMind's CIFAR-10 example, whose notebook
reports a reconstruction error of 0.056 of the data's variance and a perplexity of about 326 codes after 10,000 steps.

``fsq`` and ``lfq`` have codes without a codebook, ``pixelcnn`` has that prior. On a machine that was shared with some
fifteen other processes, 180 seconds of ``fsq`` were 997 steps of the codec, with an error of 0.065 and all 125 codes in
use, and 116 of a prior that was far from done: shapes of clothes with holes, FD-fashion 16.1 (1,000 images). There, 150
seconds of ``pixelcnn`` were 644 and 248 steps: clothes and shoes, blurred, FD-fashion 10.9.
"""

from experiments.launch import Place, Staged, launch
from gen_jax import Adam, Training
from gen_jax.models import vqvae

ADAM = {"codec": Adam(learning_rate=1e-3), "prior": Adam(learning_rate=1e-3, warmup_steps=100)}
TRAINING = Training(steps=3000, batch_size=64, checkpoint_every=1000)

PRESETS = {
    "small": Staged(vqvae.SMALL, ADAM, TRAINING, Place(workdir="runs/vqvae")),
    "fsq": Staged(vqvae.ROUNDED, ADAM, TRAINING, Place(workdir="runs/fsq")),
    "lfq": Staged(vqvae.SIGNED, ADAM, TRAINING, Place(workdir="runs/lfq")),
    "pixelcnn": Staged(vqvae.GATED, ADAM, TRAINING, Place(workdir="runs/pixelcnn")),
    "digits": Staged(vqvae.DIGITS, ADAM, TRAINING, Place(workdir="runs/vqvae")),
    "reference": Staged(
        vqvae.REFERENCE,
        {"codec": Adam(learning_rate=3e-4), "prior": Adam(learning_rate=3e-4, warmup_steps=1000)},
        Training(steps=250_000, batch_size=128, checkpoint_every=10_000),
        Place(workdir="runs/vqvae_reference"),
        codec_steps=250_000,
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vqvae", doc=__doc__)
