"""One tiny instance of every model: what stands here obeys every law in test_protocol.py."""

from typing import NamedTuple

from gen_jax.models import (
    Configuration,
    DCGANConfig,
    DDGANConfig,
    DDPMConfig,
    DenseVAEConfig,
    GMMConfig,
    VAEConfig,
    VDMConfig,
    VQVAEConfig,
)


class Entry(NamedTuple):
    """A configuration and the data it is tried on."""

    configuration: Configuration
    shape: tuple[int, int, int] = (8, 8, 1)
    classes: int = 3


ZOO = {
    "gmm": Entry(GMMConfig(components=2, covariance="diagonal")),
    "vae": Entry(VAEConfig(latent=4, widths=(4, 8), dense=(16,))),
    "vae_colour": Entry(VAEConfig(latent=4, widths=(4,), dense=(16,), likelihood="logistic"), (12, 12, 3), 0),
    "vae_conditional": Entry(DenseVAEConfig(latent=4, hidden=(16,), conditional=True)),
    "vqvae": Entry(
        VQVAEConfig(
            codec_steps=1000, channels=8, residual_channels=4, residual_layers=1, codes=8, code_width=4,
            prior_width=8, prior_layers=1, prior_heads=2, conditional=True,
        )
    ),
    "dcgan": Entry(DCGANConfig(base=4, latent=8)),
    "ddpm": Entry(DDPMConfig(channels=8, multipliers=(1,), blocks=1, timesteps=20, sampling_steps=3, conditional=True)),
    "vdm": Entry(
        VDMConfig(channels=4, multipliers=(1,), blocks=1, sampling_steps=3, bound_draws=1), (4, 4, 1), 0
    ),
    "ddgan": Entry(
        DDGANConfig(
            base=4, multipliers=(1,), blocks=1, attention=(), latent=4, style_width=4, mapping_layers=1,
            critic_base=4, critic_multipliers=(1,), critic_time_width=4,
        )
    ),
}  # fmt: skip
