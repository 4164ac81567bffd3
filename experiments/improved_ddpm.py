"""Improved DDPM: a chain that learns the variances of its steps as well.

    python -m experiments.improved_ddpm --data fashion_mnist --workdir runs/improved_ddpm
    python -m experiments.improved_ddpm --preset cifar10

Hardware: 2 CPU cores for the small preset. ``cifar10`` follows Nichol and Dhariwal 2021 (arXiv:2102.09672): 4000 steps
of the chain, Adam at 1e-4, batches of 128, 500,000 steps, dropout 0.3.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import improved_ddpm

PRESETS = {
    "small": Settings(
        improved_ddpm.SMALL,
        Adam(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0),
        place=Place(workdir="runs/improved_ddpm"),
    ),
    "cifar10": Settings(
        improved_ddpm.REFERENCE,
        Adam(learning_rate=1e-4),
        Training(steps=500_000, batch_size=128, checkpoint_every=5000, ema_half_life=890_000),
        Place(data="cifar10", workdir="runs/improved_ddpm_cifar10"),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="improved_ddpm", doc=__doc__)
