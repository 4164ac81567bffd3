"""A score-based model of a stochastic differential equation: VP, sub-VP or VE.

    python -m experiments.score_sde --data fashion_mnist --workdir runs/score_sde
    python -m experiments.score_sde --preset cifar10 --path sub_vp --objective importance

Hardware: 2 CPU cores for the small preset; ten minutes of them give FD-fashion 4.04 (VP), 5.05 (sub-VP) and 8.27 (VE)
by 100 steps of reverse diffusion (1,000 images), and 3.96, 3.86 and 3.78 bits/dim. ``cifar10`` is VP in continuous time
and ``cifar10_ve`` VE, with one Langevin correction a step, of Song et al. 2021 (arXiv:2011.13456): 1.3 million steps of
batches of 128, Adam at 2e-4 after 5,000 steps of warm-up, gradients clipped at 1, dropout 0.1, flips; at 0.2 to 0.3
seconds a step on four V100 there, three to five days. There FID is 2.55 and 2.38, and the probability flow of VP has
3.16 bits/dim.
"""

from experiments.launch import Place, Settings, launch
from gen_jax import Adam, Training
from gen_jax.models import score_sde
from gen_jax.networks.denoisers import Denoiser

ADAM = Adam(learning_rate=2e-3, warmup_steps=100, clip_norm=1.0)
REFERENCE_ADAM = Adam(learning_rate=2e-4, warmup_steps=5000, clip_norm=1.0)

PRESETS = {
    "small": Settings(score_sde.SMALL, ADAM, place=Place(workdir="runs/score_sde")),
    "digits": Settings(score_sde.ScoreSDEConfig(net=Denoiser(blocks=1)), ADAM, place=Place(workdir="runs/score_sde")),
    "cifar10": Settings(
        score_sde.REFERENCE,
        REFERENCE_ADAM,
        Training(steps=1_300_000, batch_size=128, checkpoint_every=5000, ema_half_life=890_000),
        Place(data="cifar10", workdir="runs/score_sde_cifar10", flip=True),
    ),
    "cifar10_ve": Settings(
        score_sde.EXPLODING,
        REFERENCE_ADAM,
        Training(steps=1_300_000, batch_size=128, checkpoint_every=5000, ema_half_life=89_000),
        Place(data="cifar10", workdir="runs/score_sde_cifar10_ve", flip=True),
    ),
}

if __name__ == "__main__":
    launch(PRESETS, name="score_sde", doc=__doc__)
