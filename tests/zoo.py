"""One tiny instance of every model: what stands here obeys every law in test_protocol.py."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from gen_jax.models import (
    ClassifierGuidedConfig,
    CLDConfig,
    Configuration,
    ConsistencyConfig,
    DCGANConfig,
    DDGANConfig,
    DDPMConfig,
    DenseVAEConfig,
    DistillationConfig,
    EDMConfig,
    FlowMatchingConfig,
    GMMConfig,
    RectificationConfig,
    ScoreSDEConfig,
    VAEConfig,
    VDMConfig,
    VQVAEConfig,
)
from gen_jax.protocol import Params


def as_made(params: Params) -> Params:
    """Parameters as the model makes them."""
    return params


def with_a_teacher_who_knows_more(params: Params) -> Params:
    """An untrained student agrees with its teacher, and has nothing to learn."""
    return {**params, "teacher": jax.tree.map(lambda leaf: leaf + 0.05, params["teacher"])}


class Entry(NamedTuple):
    """A configuration, the data it is tried on, and where it starts."""

    configuration: Configuration
    shape: tuple[int, int, int] = (8, 8, 1)
    classes: int = 3
    start: Callable[[Params], Params] = as_made


UNET: dict[str, Any] = {"channels": 4, "multipliers": (1,), "blocks": 1}
SMALL = (4, 4, 1)

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
    "improved_ddpm": Entry(
        DDPMConfig(**UNET, timesteps=8, sampling_steps=3, variance="learned", bound_terms=2), SMALL, 0
    ),
    "score_sde": Entry(ScoreSDEConfig(**UNET, path="ve", corrections=1, sampling_steps=3, tolerance=0.1), SMALL, 0),
    "edm": Entry(EDMConfig(**UNET, sampling_steps=3, tolerance=0.1), SMALL, 0),
    "flow_matching": Entry(FlowMatchingConfig(**UNET, coupling="optimal", sampling_steps=3, tolerance=0.1), SMALL, 0),
    "vdm": Entry(VDMConfig(**UNET, sampling_steps=3, bound_draws=1), SMALL, 0),
    "consistency": Entry(ConsistencyConfig(**UNET), SMALL, 0),
    "distillation": Entry(DistillationConfig(DDPMConfig(**UNET, timesteps=8, sampling_steps=4)), SMALL, 0),
    "rectification": Entry(
        RectificationConfig(FlowMatchingConfig(**UNET, sampling_steps=2)), SMALL, 0, with_a_teacher_who_knows_more
    ),
    "cld": Entry(CLDConfig(**UNET, rate=2.0, sampling_steps=3), classes=0),
    "classifier_guided": Entry(
        ClassifierGuidedConfig(EDMConfig(**UNET, sampling_steps=3, tolerance=0.1), widths=(8,)), SMALL
    ),
    "ddgan": Entry(
        DDGANConfig(
            base=4, multipliers=(1,), blocks=1, attention=(), latent=4, style_width=4, mapping_layers=1,
            critic_base=4, critic_multipliers=(1,), critic_time_width=4,
        )
    ),
}  # fmt: skip
