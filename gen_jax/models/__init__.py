"""The models: one file, one model, one paper.

Each file has the game itself (a frozen dataclass of networks and numbers) and its configuration (plain data, kept as
JSON with every run), whose ``build(fields)`` makes the game for data of these fields.
"""

from gen_jax.models.cld import CLD, CLDConfig
from gen_jax.models.consistency import Consistency, ConsistencyConfig
from gen_jax.models.dcgan import DCGAN, DCGANConfig
from gen_jax.models.ddgan import DDGAN, DDGANConfig
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.diffusion import Diffusion
from gen_jax.models.distillation import Distillation, DistillationConfig
from gen_jax.models.edm import EDMConfig
from gen_jax.models.flow_matching import FlowMatchingConfig
from gen_jax.models.gmm import GMM, GMMConfig
from gen_jax.models.improved_ddpm import ImprovedDDPMConfig, LearnedVariance
from gen_jax.models.noisy_classifier import ClassifierGuided, ClassifierGuidedConfig
from gen_jax.models.rectification import Rectification, RectificationConfig
from gen_jax.models.score_sde import ScoreSDEConfig
from gen_jax.models.vae import VAE, DenseVAEConfig, VAEConfig
from gen_jax.models.vdm import VDM, VDMConfig
from gen_jax.models.vqvae import VQVAE, VQCodec, VQCodecConfig, VQVAEConfig
from gen_jax.protocol import Configuration, Model

CONFIGURATIONS: tuple[type[Configuration], ...] = (
    GMMConfig,
    VAEConfig,
    DenseVAEConfig,
    VQCodecConfig,
    VQVAEConfig,
    DCGANConfig,
    DDPMConfig,
    ImprovedDDPMConfig,
    ScoreSDEConfig,
    EDMConfig,
    FlowMatchingConfig,
    VDMConfig,
    ConsistencyConfig,
    DistillationConfig,
    RectificationConfig,
    ClassifierGuidedConfig,
    CLDConfig,
    DDGANConfig,
)
"""All that a run's ``config.json`` may name."""

__all__ = [
    "CLD",
    "CONFIGURATIONS",
    "DCGAN",
    "DDGAN",
    "GMM",
    "VAE",
    "VDM",
    "VQVAE",
    "CLDConfig",
    "ClassifierGuided",
    "ClassifierGuidedConfig",
    "Configuration",
    "Consistency",
    "ConsistencyConfig",
    "DCGANConfig",
    "DDGANConfig",
    "DDPMConfig",
    "DenseVAEConfig",
    "Diffusion",
    "Distillation",
    "DistillationConfig",
    "EDMConfig",
    "FlowMatchingConfig",
    "GMMConfig",
    "ImprovedDDPMConfig",
    "LearnedVariance",
    "Model",
    "Rectification",
    "RectificationConfig",
    "ScoreSDEConfig",
    "VAEConfig",
    "VDMConfig",
    "VQCodec",
    "VQCodecConfig",
    "VQVAEConfig",
]
