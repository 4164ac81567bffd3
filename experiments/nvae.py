"""A deep hierarchy of latents, in the manner of NVAE.

    python -m experiments.nvae --data fashion_mnist --workdir runs/nvae

Not yet run to the end: on 2 CPU cores a step of 64 images of the small preset takes four tenths of a second of one of
them, and compiling it a minute. ``--preset reference`` has the scales, groups and latents of the authors' command for
binarised MNIST (78.01 nats after 400 epochs, 21 hours of two V100s).
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import nvae

PRESETS = {
    "small": Settings(
        nvae.SMALL,
        Adam(learning_rate=2e-3, warmup_steps=50, clip_norm=100.0, decay="cosine"),
        Training(steps=10_000, batch_size=64, checkpoint_every=1000, ema_ramp=0.2),
        Place(workdir="runs/nvae"),
    ),
    "reference": Settings(
        nvae.REFERENCE,
        Adam(learning_rate=1e-3, warmup_steps=1500, clip_norm=100.0, decay="cosine"),
        Training(steps=120_000, batch_size=200, checkpoint_every=5000),
        Place(workdir="runs/nvae_reference"),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="nvae", doc=__doc__)
