"""A variational diffusion model: likelihood by the bound itself, with its noise schedule learned.

    python -m experiments.vdm --data fashion_mnist --workdir runs/vdm
    python -m experiments.vdm --preset cifar10

Hardware: 2 CPU cores for the small preset; ten minutes of them give a bound of 4.02 bits/dim and FD-fashion 9.76 in 100
steps (1,000 images). ``cifar10`` follows Kingma et al. 2021 (arXiv:2107.00630) on their U-Net, which never halves the
side: 10 million steps of batches of 128, AdamW at 2e-4, on TPU v3 there. Published: their released weights have 2.637
bits/dim.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import vdm
from gen_jax.networks.denoisers import Denoiser

ADAM = Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=300.0)

PRESETS = {
    "small": Settings(vdm.SMALL, ADAM, place=Place(workdir="runs/vdm")),
    "digits": Settings(vdm.VDMConfig(net=Denoiser(blocks=1)), ADAM, place=Place(workdir="runs/vdm")),
    "cifar10": Settings(
        vdm.REFERENCE,
        Adam(learning_rate=2e-4, b2=0.99, weight_decay=0.01),
        Training(steps=10_000_000, batch_size=128, checkpoint_every=10_000, ema_half_life=890_000),
        Place(data="cifar10", workdir="runs/vdm_cifar10", flip=True),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="vdm", doc=__doc__)
