"""A prior in the latents of a VAE: first the VAE is trained, then the prior, a diffusion or a second VAE.

    python -m experiments.latent --data fashion_mnist --workdir runs/latent
    python -m experiments.latent --preset two_stage --data fashion_mnist --workdir runs/two_stage

Rombach et al. 2022 (arXiv:2112.10752), with the vector of a small VAE in place of a map; the two-stage VAE of Dai and
Wipf 2019 (arXiv:1903.05789). The sequence is one command, and goes on wherever it was stopped. What every prior gives
in the same time is measured by ``experiments.latent_priors``.
"""

from experiments.launch import Place, Staged, launch
from gen_jax import Adam, Training
from gen_jax.models import edm, latent, two_stage, vae
from gen_jax.networks.denoisers import Denoiser

CODEC = vae.VAEConfig(latent=16)
PRIOR = edm.EDMConfig(
    net=Denoiser("mlp", channels=256, multipliers=(1,), blocks=4), data_spread=1.0, largest_noise=20.0
)
ADAM = {
    "codec": Adam(learning_rate=1e-3, decay="cosine"),
    "denoiser": Adam(learning_rate=1e-3, warmup_steps=100, clip_norm=1.0, decay="cosine"),
}
TRAINING = Training(steps=10_000, batch_size=128, checkpoint_every=1000, ema_ramp=0.2)

TWO_STAGE = latent.LatentConfig(vae.CODEC, two_stage.SMALL, latents="draws")

PRESETS = {
    "small": Staged(
        latent.LatentConfig(CODEC, PRIOR), ADAM, TRAINING, Place(workdir="runs/latent"), codec_steps=10_000
    ),
    "two_stage": Staged(
        TWO_STAGE,
        {"codec": ADAM["codec"], "vae": Adam(learning_rate=1e-3, decay="cosine")},
        TRAINING,
        Place(workdir="runs/two_stage"),
        codec_steps=10_000,
    ),
}


if __name__ == "__main__":
    launch(PRESETS, name="latent", doc=__doc__)
