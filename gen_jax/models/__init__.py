"""The models: one file, one model, one paper.

Each file has the game itself (a frozen dataclass of networks and numbers) or shares that of its family, and its
configuration (plain data, kept as JSON with every run), whose ``build(fields)`` makes the game for data of such fields.
What is said here is all there is; ``python -m gen_jax models [WORD]`` prints it with the command that trains each:

    family     configuration           file                 game              experiment     source
    classical  GMMConfig               gmm                  GMM               gmm            Dempster et al. 1977
    classical  HMMConfig               hmm                  HiddenMarkov      hmm            Baum et al. 1970
    classical  LDAConfig               lda                  LDA               lda            Blei et al. 2003
    VAE        AutoencoderConfig       autoencoder          Autoencoder       autoencoder  Hinton and Salakhutdinov 2006
    VAE        SparseAutoencoderConfig autoencoder          Autoencoder       autoencoder    Ng 2011
    VAE        ContractiveAutoencoderConfig autoencoder     Autoencoder       autoencoder    Rifai et al. 2011
    VAE        DenoisingAutoencoderConfig autoencoder       Autoencoder       autoencoder    Vincent et al. 2008
    VAE        InPaintingConfig        inpainting           InPainting        autoencoder    Pathak et al. 2016
    VAE        VAEConfig               vae                  VAE               vae            Kingma and Welling 2014
    VAE        DenseVAEConfig          vae                  VAE               vae            Burda et al. 2016
    VAE        IWAEConfig              iwae                 IWAE              vae            Burda et al. 2016
    VAE        SecondStageConfig       two_stage            VAE               latent         Dai and Wipf 2019
    VAE        ResidualVAEConfig       residual_vae         ResidualVAE       residual_vae   Cai et al. 2017
    VAE        NVAEConfig              nvae                 NVAE              nvae           Vahdat and Kautz 2020
    VAE        VQCodecConfig           vqvae                VQCodec           vqvae          van den Oord et al. 2017
    VAE        VQVAEConfig             vqvae                Latent            vqvae          van den Oord et al. 2017
    VAE        TwoLevelCodecConfig     vqvae2               TwoLevelCodec     vqvae2         Razavi et al. 2019
    VAE        VQVAE2Config            vqvae2               Latent            vqvae2         Razavi et al. 2019
    flow       RealNVPConfig           flow                 Flow              flow           Dinh et al. 2017
    flow       GlowConfig              flow                 Flow              flow           Kingma and Dhariwal 2018
    flow       MAFConfig               flow                 Flow              flow           Papamakarios et al. 2017
    flow       SplineFlowConfig        flow                 Flow              flow           Durkan et al. 2019
    any        LatentConfig            latent               Latent            latent         Rombach et al. 2022
    GAN        GANConfig               gan                  GAN               points         Goodfellow et al. 2014
    GAN        MaxoutGANConfig         maxout_gan           GAN               maxout_gan     Goodfellow et al. 2014
    GAN        CGANConfig              cgan                 GAN               cgan           Mirza and Osindero 2014
    GAN        DCGANConfig             dcgan                GAN               dcgan          Radford et al. 2016
    GAN        WGANConfig              wgan                 GAN               wgan           Arjovsky et al. 2017
    GAN        WGANGPConfig            wgan_gp              GAN               wgan_gp        Gulrajani et al. 2017
    GAN        SNGANConfig             sngan                GAN               sngan          Miyato et al. 2018
    GAN        R3GANConfig             r3gan                GAN               r3gan          Huang et al. 2024
    GAN        D2GANConfig             d2gan                GAN               d2gan          Nguyen et al. 2017
    GAN        VEEGANConfig            veegan               VEEGAN            veegan         Srivastava et al. 2017
    GAN        UnrolledGANConfig       unrolled_gan         GAN               unrolled_gan   Metz et al. 2017
    GAN        ImprovedGANConfig       improved_gan         Historical        improved_gan   Salimans et al. 2016
    GAN        SemiSupervisedGANConfig semi_supervised_gan  SemiSupervisedGAN semi_supervised_gan Salimans et al. 2016
    GAN        ProGANConfig            progan               GAN               progan         Karras et al. 2018
    GAN        StyleGANConfig          stylegan             StyleGAN          stylegan       Karras et al. 2019
    GAN        StyleGAN2Config         stylegan2            StyleGAN          stylegan2      Karras et al. 2020
    GAN        StyleGAN3Config         stylegan3            StyleGAN          stylegan3      Karras et al. 2021
    GAN        CycleGANConfig          cyclegan             CycleGAN          cyclegan       Zhu et al. 2017
    GAN        Pix2PixConfig           pix2pix              Pix2Pix           cyclegan       Isola et al. 2017
    diffusion  DDPMConfig              ddpm                 Diffusion         ddpm           Ho et al. 2020
    diffusion  ImprovedDDPMConfig      improved_ddpm        LearnedVariance   improved_ddpm  Nichol and Dhariwal 2021
    diffusion  ScoreSDEConfig          score_sde            Diffusion         score_sde      Song et al. 2021
    diffusion  EDMConfig               edm                  Diffusion         edm            Karras et al. 2022
    diffusion  FlowMatchingConfig      flow_matching        Diffusion         flow_matching  Lipman et al. 2023
    diffusion  VDMConfig               vdm                  VDM               vdm            Kingma et al. 2021
    diffusion  ConsistencyConfig       consistency          Consistency       consistency    Song et al. 2023
    diffusion  DistillationConfig      distillation         Distillation      distillation   Salimans and Ho 2022
    diffusion  RectificationConfig     rectification        Rectification     rectification  Liu et al. 2023
    diffusion  ClassifierGuidedConfig  classifier_guidance  ClassifierGuided  -              Dhariwal and Nichol 2021
    diffusion  CLDConfig               cld                  CLD               -              Dockhorn et al. 2022
    hybrid     VAEGANConfig            vae_gan              VAEGAN            vae_gan        Larsen et al. 2016
    hybrid     VQGANCodecConfig        vqgan                VQGANCodec        vqgan          Esser et al. 2021
    hybrid     VQGANConfig             vqgan                Latent            vqgan          Esser et al. 2021
    hybrid     DDGANConfig             ddgan                DDGAN             ddgan          Xiao et al. 2022
    hybrid     FVAEGAND2Config         f_vaegan_d2          FeatureVAEGAN     f_vaegan_d2    Xian et al. 2019
"""

import importlib
from typing import NamedTuple

from gen_jax.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    ContractiveAutoencoderConfig,
    DenoisingAutoencoderConfig,
    SparseAutoencoderConfig,
)
from gen_jax.models.cgan import CGANConfig
from gen_jax.models.classifier_guidance import ClassifierGuided, ClassifierGuidedConfig
from gen_jax.models.cld import CLD, CLDConfig
from gen_jax.models.consistency import Consistency, ConsistencyConfig
from gen_jax.models.cyclegan import CycleGAN, CycleGANConfig
from gen_jax.models.d2gan import D2GANConfig
from gen_jax.models.dcgan import DCGANConfig
from gen_jax.models.ddgan import DDGAN, DDGANConfig
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.diffusion import Diffusion
from gen_jax.models.distillation import Distillation, DistillationConfig
from gen_jax.models.edm import EDMConfig
from gen_jax.models.f_vaegan_d2 import FeatureVAEGAN, FVAEGAND2Config
from gen_jax.models.flow import Flow, GlowConfig, MAFConfig, RealNVPConfig, SplineFlowConfig
from gen_jax.models.flow_matching import FlowMatchingConfig
from gen_jax.models.gan import GAN, GANConfig
from gen_jax.models.gmm import GMM, GMMConfig
from gen_jax.models.hmm import HiddenMarkov, HMMConfig
from gen_jax.models.improved_ddpm import ImprovedDDPMConfig, LearnedVariance
from gen_jax.models.improved_gan import Historical, ImprovedGANConfig
from gen_jax.models.inpainting import InPainting, InPaintingConfig
from gen_jax.models.iwae import IWAE, IWAEConfig
from gen_jax.models.latent import Latent, LatentConfig
from gen_jax.models.lda import LDA, LDAConfig
from gen_jax.models.maxout_gan import MaxoutGANConfig
from gen_jax.models.nvae import NVAE, NVAEConfig
from gen_jax.models.pix2pix import Pix2Pix, Pix2PixConfig
from gen_jax.models.progan import ProGANConfig
from gen_jax.models.r3gan import R3GANConfig
from gen_jax.models.rectification import Rectification, RectificationConfig
from gen_jax.models.residual_vae import ResidualVAE, ResidualVAEConfig
from gen_jax.models.score_sde import ScoreSDEConfig
from gen_jax.models.semi_supervised_gan import SemiSupervisedGAN, SemiSupervisedGANConfig
from gen_jax.models.sngan import SNGANConfig
from gen_jax.models.stylegan import StyleGANConfig
from gen_jax.models.stylegan2 import StyleGAN2Config
from gen_jax.models.stylegan3 import StyleGAN3Config
from gen_jax.models.styles import StyleGAN
from gen_jax.models.two_stage import SecondStageConfig
from gen_jax.models.unrolled_gan import UnrolledGANConfig
from gen_jax.models.vae import VAE, DenseVAEConfig, VAEConfig
from gen_jax.models.vae_gan import VAEGAN, VAEGANConfig
from gen_jax.models.vdm import VDM, VDMConfig
from gen_jax.models.veegan import VEEGAN, VEEGANConfig
from gen_jax.models.vqgan import VQGANCodec, VQGANCodecConfig, VQGANConfig
from gen_jax.models.vqvae import VQCodec, VQCodecConfig, VQVAEConfig
from gen_jax.models.vqvae2 import TwoLevelCodec, TwoLevelCodecConfig, VQVAE2Config
from gen_jax.models.wgan import WGANConfig
from gen_jax.models.wgan_gp import WGANGPConfig
from gen_jax.protocol import Configuration, Model

CONFIGURATIONS: tuple[type[Configuration], ...] = tuple(
    value for name, value in list(globals().items()) if name.endswith("Config")
)
"""All that a run's ``config.json`` may name: every configuration that is imported here."""


class Row(NamedTuple):
    """A model in the index."""

    family: str
    configuration: str
    file: str
    game: str
    command: str
    source: str


def index() -> list[Row]:
    """The table at the head of this package, with commands in place of experiments."""
    lines = [line.split(maxsplit=5) for line in (__doc__ or "").splitlines() if line.startswith("    ")]
    return [
        Row(family, configuration, file, game, "" if name == "-" else f"python -m experiments.{name}", source)
        for family, configuration, file, game, name, source in lines[1:]
    ]


def presets() -> dict[str, Configuration]:
    """The configurations that stand in the models' files, by file and name: those of experiments and of papers.

    >>> presets()["vae.REFERENCE"].latent
    10
    """
    files = {row.file: importlib.import_module(f"{__name__}.{row.file}") for row in index()}
    return {
        f"{file}.{name}": value
        for file, module in files.items()
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, CONFIGURATIONS)
    }
