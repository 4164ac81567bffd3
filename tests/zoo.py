"""One tiny instance of every model: what stands here obeys every law in test_protocol.py."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field, Fields, images
from gen_jax.models import (
    AutoencoderConfig,
    CGANConfig,
    ClassifierGuidedConfig,
    CLDConfig,
    Configuration,
    ConsistencyConfig,
    ContractiveAutoencoderConfig,
    CycleGANConfig,
    D2GANConfig,
    DCGANConfig,
    DDGANConfig,
    DDPMConfig,
    DenoisingAutoencoderConfig,
    DenseVAEConfig,
    DistillationConfig,
    EDMConfig,
    FlowMatchingConfig,
    FVAEGAND2Config,
    GANConfig,
    GlowConfig,
    GMMConfig,
    HMMConfig,
    ImprovedDDPMConfig,
    ImprovedGANConfig,
    InPaintingConfig,
    IWAEConfig,
    LatentConfig,
    LDAConfig,
    MAFConfig,
    MaxoutGANConfig,
    NVAEConfig,
    Pix2PixConfig,
    ProGANConfig,
    R3GANConfig,
    RealNVPConfig,
    RectificationConfig,
    ResidualVAEConfig,
    ScoreSDEConfig,
    SecondStageConfig,
    SemiSupervisedGANConfig,
    SNGANConfig,
    SparseAutoencoderConfig,
    SplineFlowConfig,
    StyleGAN2Config,
    StyleGAN3Config,
    StyleGANConfig,
    TwoLevelCodecConfig,
    UnrolledGANConfig,
    VAEConfig,
    VAEGANConfig,
    VDMConfig,
    VEEGANConfig,
    VQCodecConfig,
    VQGANCodecConfig,
    VQGANConfig,
    VQVAE2Config,
    VQVAEConfig,
    WGANConfig,
    WGANGPConfig,
)
from gen_jax.networks.adversaries import Adversaries
from gen_jax.networks.augmented import Augmentation
from gen_jax.networks.autoencoders import Coder
from gen_jax.networks.denoisers import Denoiser
from gen_jax.networks.translators import Translators
from gen_jax.protocol import Params


def as_made(params: Params) -> Params:
    """Parameters as the model makes them."""
    return params


def with_a_teacher_who_knows_more(params: Params) -> Params:
    """An untrained student agrees with its teacher, and has nothing to learn."""
    return {**params, "teacher": jax.tree.map(lambda leaf: leaf + 0.05, params["teacher"])}


def with_larger_weights(params: Params) -> Params:
    """Where they start next to zero, the first steps are rounding."""
    return jax.tree.map(lambda leaf: 20 * leaf, params)


def away_from_the_batch(params: Params) -> Params:
    """Where they start at the mean of the batch, the gradient there is rounding."""
    return jax.tree.map(lambda leaf: leaf + 0.05, params)


class Entry(NamedTuple):
    """A configuration, the data it is tried on, and where it starts."""

    configuration: Configuration
    fields: Fields = images((8, 8, 1), 3)
    start: Callable[[Params], Params] = as_made


ADAPTIVE = Augmentation("adaptive", share=0.5, images=1000)
TRANSLATORS = Translators(channels=4, blocks=1, critic_channels=4, strides=1)
SMALL = images((4, 4, 1))
FEATURES = {name: Field((width,), REAL) for name, width in (("feature", 5), ("attribute", 3))}
UNSEEN = {"unseen": FEATURES["feature"], "unseen_attribute": FEATURES["attribute"]}
TWO_DOMAINS = {name: Field((8, 8, 1), PIXELS) for name in ("image", "other")}
CODER = Coder(latent=4, widths=(4,), dense=(8,))
CODEC = VQCodecConfig(channels=8, residual_channels=4, residual_layers=1, codes=8, code_width=4)
LEVELS = TwoLevelCodecConfig(1, 8, 4, 1, codes=8, code_width=4)

GAN_CODEC = VQGANCodecConfig(8, (1, 1), 1, (4,), 8, 8, 4, critic_channels=4, strides=1, start=0)


def denoisers(net: Denoiser) -> dict[str, Entry]:
    """The games of denoising, by a network that all of them take."""
    return {
        "improved_ddpm": Entry(
            ImprovedDDPMConfig(DDPMConfig(net, timesteps=8, sampling_steps=3, bound_terms=2)), SMALL
        ),
        "score_sde": Entry(ScoreSDEConfig(net, path="ve", corrections=1, sampling_steps=3, tolerance=0.1), SMALL),
        "edm": Entry(EDMConfig(net, sampling_steps=3, tolerance=0.1), SMALL),
        "flow_matching": Entry(FlowMatchingConfig(net, coupling="optimal", sampling_steps=3, tolerance=0.1), SMALL),
        "vdm": Entry(VDMConfig(net, sampling_steps=3, bound_draws=1), SMALL),
        "consistency": Entry(ConsistencyConfig(net), SMALL),
        "distillation": Entry(DistillationConfig(DDPMConfig(net, timesteps=8, sampling_steps=4)), SMALL),
        "rectification": Entry(
            RectificationConfig(FlowMatchingConfig(net, sampling_steps=2)), SMALL, with_a_teacher_who_knows_more
        ),
        "cld": Entry(CLDConfig(net, rate=2.0, sampling_steps=3), images((8, 8, 1))),
        "classifier_guided": Entry(
            ClassifierGuidedConfig(EDMConfig(net, sampling_steps=3, tolerance=0.1), widths=(8,)), images((4, 4, 1), 3)
        ),
    }


ZOO = {
    "gmm": Entry(GMMConfig(components=2, covariance="diagonal")),
    "hmm": Entry(HMMConfig(states=3), {"sequence": Field((6,), SYMBOL, 5), "length": Field((), SYMBOL, 7)}),
    "hmm_reals": Entry(HMMConfig(states=2, covariance="diagonal", scatter=0.1), {"sequence": Field((6, 2), REAL)}),
    "lda": Entry(
        LDAConfig(topics=2),
        {"word": Field((6,), SYMBOL, 9), "count": Field((6,), COUNT), "length": Field((), SYMBOL, 20)},
    ),
    "autoencoder": Entry(AutoencoderConfig(Coder(2, (), (8,))), {"point": Field((3,), REAL)}),
    "sparse_autoencoder": Entry(SparseAutoencoderConfig(CODER), images((4, 4, 1), 3)),
    "contractive_autoencoder": Entry(ContractiveAutoencoderConfig(CODER), SMALL),
    "denoising_autoencoder": Entry(DenoisingAutoencoderConfig(CODER, walk_steps=2)),
    "inpainting": Entry(InPaintingConfig(Coder(latent=16, widths=(8,), dense=(64,)))),
    "vae": Entry(VAEConfig(latent=4, widths=(4, 8), dense=(16,))),
    "vae_colour": Entry(VAEConfig(latent=4, widths=(4,), dense=(16,), likelihood="logistic"), images((12, 12, 3))),
    "vae_conditional": Entry(DenseVAEConfig(latent=4, hidden=(16,), conditional=True, prior="by class")),
    "vae_capacity": Entry(
        VAEConfig(latent=4, widths=(4,), dense=(8,), capacity=0.3, capacity_steps=1, variance="free", samples="draws"),
        SMALL,
    ),
    "vae_mixture": Entry(VAEConfig(latent=4, widths=(4,), dense=(8,), likelihood="mixture"), images((4, 4, 3))),
    "iwae": Entry(IWAEConfig((4, 3), (8, 8), "logistic", training_samples=3, importance_samples=2), SMALL),
    "second_stage": Entry(SecondStageConfig(latent=3, hidden=(8, 8)), {"point": Field((3,), REAL)}),
    "two_stage": Entry(
        LatentConfig(VAEConfig(latent=4, widths=(4,), dense=(8,)), SecondStageConfig(4, (8,)), latents="draws"), SMALL
    ),
    "residual_vae": Entry(
        ResidualVAEConfig(DenseVAEConfig(4, (8,), "gaussian"), 3, (4,), (8,), features=4, kl_warmup=0), SMALL
    ),
    "nvae": Entry(NVAEConfig((8, 4), (1, 2), latent=2, patch=2, kl_warmup=10, importance_samples=2), SMALL),
    "vqvae_codec": Entry(CODEC),
    "fsq_codec": Entry(dataclasses.replace(CODEC, quantiser="fsq", levels=(4, 3))),
    "lfq_codec": Entry(dataclasses.replace(CODEC, quantiser="lfq")),
    # What is passed straight through is not the gradient of the loss: of a smaller weight, the encoder runs from a
    # codebook that takes steps as large as its own, and the loss rises.
    "gradient_codec": Entry(dataclasses.replace(CODEC, quantiser="gradient", beta=1.0)),
    "vqvae": Entry(VQVAEConfig(CODEC, prior_width=8, prior_layers=1, prior_heads=2, conditional=True)),
    "pixelcnn": Entry(VQVAEConfig(CODEC, prior_width=8, prior_layers=2, prior="pixelcnn", keep_codes=0.9)),
    "two_level_codec": Entry(LEVELS),
    "vqvae2": Entry(VQVAE2Config(LEVELS, prior_width=8, top_layers=1, bottom_layers=1, conditional=True)),
    "real_nvp": Entry(RealNVPConfig(levels=1, depth=1, width=8), SMALL, away_from_the_batch),
    "glow": Entry(GlowConfig(levels=1, depth=2, width=8), SMALL, away_from_the_batch),
    "maf": Entry(MAFConfig(layers=2, hidden=(16,)), {"point": Field((3,), REAL)}, away_from_the_batch),
    "spline_flow": Entry(SplineFlowConfig(depth=2, width=8, bins=4), {"point": Field((2,), REAL)}, away_from_the_batch),
    "latent": Entry(
        LatentConfig(VAEConfig(latent=4, widths=(4,), dense=(8,)), DenseVAEConfig(3, (8,), likelihood="gaussian")),
        SMALL,
    ),
    "gan": Entry(
        GANConfig(latent=4, hidden=(16,), gradient_penalty=1.0, conditional=True),
        {"point": Field((2,), REAL), "label": Field((), SYMBOL, 3)},
    ),
    "maxout_gan": Entry(
        MaxoutGANConfig(latent=4, hidden=(16,), units=(8,), pieces=2, dropout=0.1), SMALL, with_larger_weights
    ),
    "cgan": Entry(
        CGANConfig(4, 8, 8, 16, (8, 4, 8), (2, 2, 2), dropout=0.1), images((4, 4, 1), 3), with_larger_weights
    ),
    "d2gan": Entry(D2GANConfig(4, (8,), (8,), 0.5, 0.8), {"point": Field((2,), REAL)}, with_larger_weights),
    "f_vaegan_d2": Entry(FVAEGAND2Config(latent=2, hidden=8, vae_every=2), FEATURES),
    "f_vaegan_d2_transductive": Entry(FVAEGAND2Config(latent=2, hidden=8, vae_every=2), {**FEATURES, **UNSEEN}),
    "veegan": Entry(VEEGANConfig(latent=4, hidden=(16,)), {"point": Field((2,), REAL)}),
    "unrolled_gan": Entry(UnrolledGANConfig(latent=4, hidden=(16, 16), unroll=2), {"point": Field((2,), REAL)}),
    "improved_gan": Entry(
        ImprovedGANConfig(4, (16,), 8, (16,), 4, 2, matching="features", history=0.1), {"point": Field((2,), REAL)}
    ),
    "semi_supervised_gan": Entry(
        SemiSupervisedGANConfig(4, (16,), 8, (16, 8), input_noise=0.1, noise=0.1),
        {"point": Field((2,), REAL), "label": Field((), SYMBOL, 3), "labelled": Field((), SYMBOL, 2)},
    ),
    "dcgan": Entry(DCGANConfig(Adversaries("dcgan", latent=8, channels=4))),
    "wgan": Entry(WGANConfig(Adversaries("dcgan", latent=8, channels=4))),
    "wgan_gp": Entry(WGANGPConfig(Adversaries("wgan-gp", latent=8, channels=4))),
    "sngan": Entry(SNGANConfig(Adversaries("sngan", latent=8, channels=4), augment=ADAPTIVE, conditional=True)),
    "r3gan": Entry(R3GANConfig(Adversaries("r3gan", 8, 4, blocks=1, group=4), augment=Augmentation("differentiable"))),
    "cyclegan": Entry(CycleGANConfig(TRANSLATORS, pool=5), TWO_DOMAINS),
    "pix2pix": Entry(Pix2PixConfig(TRANSLATORS), TWO_DOMAINS),
    "progan": Entry(ProGANConfig(latent=4, widths=(4, 4), levels=2, fade_steps=1)),
    "stylegan": Entry(StyleGANConfig(4, 4, 2, (4, 4), 2, 1)),
    "stylegan2": Entry(
        StyleGAN2Config(latent=4, style_width=4, mapping_layers=2, base=4, most=8, r1_every=2, path_every=2)
    ),
    "stylegan3": Entry(StyleGAN3Config("R", 4, 4, 1, 3, 1, base=4, most=8, margin=1, critic_base=4, r1_every=2)),
    "ddpm": Entry(
        DDPMConfig(Denoiser(channels=8, multipliers=(1,), blocks=1), timesteps=20, sampling_steps=3, conditional=True)
    ),
    **denoisers(Denoiser("mlp", channels=32, multipliers=(1,), blocks=1)),
    "vae_gan": Entry(VAEGANConfig(4, (4, 4), 8, (4, 4), (4, 4, 4), 8, share=0.1), SMALL),
    "vqgan_codec": Entry(GAN_CODEC),
    "vqgan": Entry(VQGANConfig(GAN_CODEC, 8, 1, 2, conditional=True)),
    "ddgan": Entry(
        DDGANConfig(
            base=4, multipliers=(1,), blocks=1, attention=(), latent=4, style_width=4, mapping_layers=1,
            critic_base=4, critic_multipliers=(1,), critic_time_width=4,
        )
    ),
}  # fmt: skip

DEEP = {f"{name}_unet": entry for name, entry in denoisers(Denoiser(channels=4, multipliers=(1,), blocks=1)).items()}
"""Of images by a network for images: slow to compile, and the same games."""
