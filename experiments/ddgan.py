"""A denoising diffusion GAN: four denoising steps, each by a conditional GAN.

    python -m experiments.ddgan --data fashion_mnist --workdir runs/ddgan

Hardware: 2 CPU cores for the small preset; 8 minutes of them give FD-fashion 3.31 (2,000 images). ``--preset
reference`` has the CIFAR-10 settings of Xiao et al. 2022 (arXiv:2112.07804): batches of 256, 1,800 epochs, cosine
decay, on four V100 GPUs.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import ddgan

ADAM = {
    "critic": Adam(learning_rate=1e-3, b1=0.5, b2=0.99),
    "generator": Adam(learning_rate=3e-4, b1=0.5, b2=0.99),
}
TRAINING = Training(steps=10_000, batch_size=32, checkpoint_every=1000)

PRESETS = {
    "small": Settings(ddgan.SMALL, ADAM, TRAINING, Place(workdir="runs/ddgan")),
    "digits": Settings(ddgan.DIGITS, ADAM, TRAINING, Place(workdir="runs/ddgan")),
    "reference": Settings(
        ddgan.REFERENCE,
        {
            "critic": Adam(learning_rate=1.25e-4, b1=0.5, b2=0.9, decay="cosine"),
            "generator": Adam(learning_rate=1.6e-4, b1=0.5, b2=0.9, decay="cosine"),
        },
        Training(steps=350_000, batch_size=256, checkpoint_every=5000, ema_half_life=1_800_000),
        Place(workdir="runs/ddgan", flip=True),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="ddgan", doc=__doc__)
