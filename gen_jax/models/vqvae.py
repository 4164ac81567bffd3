"""The vector-quantised variational autoencoder and an autoregressive prior over its codes.

van den Oord, Vinyals and Kavukcuoglu 2017, "Neural Discrete Representation Learning" (arXiv:1711.00937); codes without
a codebook: Mentzer et al. 2023, "Finite Scalar Quantization" (arXiv:2309.15505), Yu et al. 2023 (arXiv:2310.05737); the
gated PixelCNN as the prior: van den Oord et al. 2016 (arXiv:1606.05328).

(1) codec loss    |x - D(z_q)|^2 / var(x) + what the quantiser adds, by (10) to (13) of
                  :mod:`gen_jax.models.quantisers`: beta |E(x) - sg(z_q)|^2, as its codebook follows by moving averages
(2) prior         p(k) = prod_i p(k_i | k_<i, class), of :mod:`gen_jax.models.autoregressive`; loss -log p(k), nats
(3) bound         log p(x) >= log p(x | z_q) + log p(k(x)), since p(x) is a sum over all codes of such products

They are trained in two stages, each a game and a run of its own: the codec, whose prior is uniform as in the paper, and
then the prior, a :class:`~gen_jax.models.latent.Latent` with the codec a player who never moves again. Samples come
from averaged weights, and the prior learns the codes of the averaged codec.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Depth, Fraction, Share, Within, plain
from gen_jax.fields import SYMBOL, Field, Fields, known_classes, of_images
from gen_jax.models import quantisers
from gen_jax.models.autoregressive import Autoregressive, Choice, one_by_one, with_cache
from gen_jax.models.latent import LATENT, Latent
from gen_jax.models.quantisers import Quantiser
from gen_jax.networks.pixelcnn import PixelCNN
from gen_jax.networks.transformer import CausalTransformer
from gen_jax.networks.vqvae import Decoder, Encoder
from gen_jax.nn.fit import padded, whole
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Configuration, Network, Params, Tree, Turn

VARIANCE_DECAY = 0.99  # a step, of the running variances of the data and of the reconstruction error


@dataclass(frozen=True)
class VQCodec:
    """A game of one player, ``codec``."""

    shape: tuple[int, int, int]
    encoder: Network  # x [B, H, W, C] -> [B, h, w, code_width]
    decoder: Network  # z_q [B, h, w, code_width] -> mean image [B, H, W, C]
    grid: tuple[int, int]  # h, w
    quantiser: Quantiser

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()
    log_prob_kind: ClassVar[str] = "lower bound"

    @property
    def length(self) -> int:
        """Codes of an image."""
        return math.prod(self.grid)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (1)."""
        return (Turn("codec", self.codec_loss),)

    @property
    def network_evaluations(self) -> int:
        """One of the decoder."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks and the codebook, if there is one."""
        keys = jax.random.split(key, 4)
        encoder, _ = self.encoder.init(keys[0])
        decoder, _ = self.decoder.init(keys[1])
        learned, carried = self.quantiser.init(keys[3])
        own = {"data_variance": jnp.ones(()), "variance": jnp.ones(()), "idle": quantisers.unused(self.quantiser.codes)}
        params = {"encoder": encoder, "decoder": decoder, **({"codebook": learned} if learned else {})}
        return {"codec": params}, {"codec": {**carried, **own}}

    def codec_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(1), a mean over pixels; quantises with the codebook as it was, then moves it."""
        x = batch["image"]
        z, _ = self.encoder.apply(params["codec"]["encoder"], {}, x)
        coded = self.quantiser.learn(_codebook(params), buffers["codec"], z, key)
        error = jnp.mean((x - self._decode(params, coded.z_q)) ** 2)
        variances = {"data_variance": jnp.var(x), "variance": error}
        first = step == 0
        carried = {
            name: jnp.where(first, new, VARIANCE_DECAY * buffers["codec"][name] + (1 - VARIANCE_DECAY) * new)
            for name, new in jax.lax.stop_gradient(variances).items()
        }
        reconstruction = error / jnp.maximum(carried["data_variance"], 1e-6)
        carried["idle"], used = quantisers.use(coded.codes, buffers["codec"]["idle"])
        figures = {"reconstruction": reconstruction, **coded.figures, **used}
        return reconstruction + coded.loss, Aux(figures, {"codec": {**coded.buffers, **carried}})

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """Codes int32 ``[B, h w]`` of images ``[B, H, W, C]``."""
        z, _ = self.encoder.apply(params["codec"]["encoder"], {}, x)
        return self.quantiser.encode(_codebook(params), buffers["codec"], z).reshape(x.shape[0], -1)

    def decode(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        """Images ``[B, H, W, C]`` in [-1, 1] of codes int32 ``[B, h w]``, or of a grid ``[B, ...]`` of another size."""
        return jnp.clip(self._decode(params, self._chosen(params, buffers, index)), -1.0, 1.0)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Decoded draws of the codec's own prior, which is uniform over all codes."""
        return self.decode(params, buffers, jax.random.randint(key, (n, self.length), 0, self.quantiser.codes))

    @property
    def codec_player(self) -> str:
        """The only one."""
        return "codec"

    @property
    def latent_field(self) -> Field:
        """The codes of an image, in rows."""
        return Field((self.length,), SYMBOL, self.quantiser.codes)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The codes of images."""
        return self.encode(params, buffers, x)

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The images of codes."""
        return self.decode(params, buffers, z)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (3) with a uniform prior, nats ``[B]``."""
        prior = self.length * math.log(self.quantiser.codes)
        return self.log_likelihood(params, buffers, key, batch["image"]) - prior

    def log_likelihood(self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array) -> jax.Array:
        """Log p(x | z_q) of dequantised images, nats ``[B]``: a Gaussian of the training's mean squared error."""
        index = self.encode(params, buffers, x)
        z_q = self._chosen(params, buffers, index)
        x = distributions.dequantise(key, x)
        log_variance = jnp.log(buffers["codec"]["variance"])
        pixels = distributions.normal_log_prob(x, self._decode(params, z_q), log_variance) + jnp.log(
            distributions.LEVEL
        )
        return pixels.sum(axis=(1, 2, 3))

    def _chosen(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        z_q = self.quantiser.decode(_codebook(params), buffers["codec"], index)
        return z_q.reshape(len(index), *(self.grid if index.ndim == 2 else index.shape[1:]), -1)

    def _decode(self, params: Params, z_q: jax.Array) -> jax.Array:
        return self.decoder.apply(params["codec"]["decoder"], {}, z_q)[0]


def _codebook(params: Params) -> Tree:
    return params["codec"].get("codebook", {})


@plain
class VQCodecConfig:
    """The codec of a VQ-VAE."""

    halvings: Depth = 2
    """Stride-2 convolutions between an image and its codes."""
    channels: Count = 64
    """Width of the convolutions at the resolution of the codes."""
    residual_channels: Count = 32
    """Width inside the residual layers."""
    residual_layers: Depth = 2
    """Residual layers in encoder and decoder, each."""
    codes: Count = 128
    """Number of codes; of "fsq" it is that of its levels."""
    code_width: Count = 16
    """Dimensions of a code in a codebook."""
    beta: Amount = 0.25
    """Weight of the commitment loss."""
    codebook_decay: Fraction = 0.99
    """Decay per step of the codebook's moving averages."""
    restart_below: Amount = 0.5
    """A code used less often than this a batch, on average, restarts at a random encoder output; 0: never. With
    "averages" alone."""
    quantiser: Literal["averages", "gradient", "fsq", "lfq"] = "averages"
    """What makes codes: a codebook of moving averages or one that descends a loss, rounding, or signs."""
    levels: tuple[Annotated[int, Within(2)], ...] = (5, 5, 5)
    """Levels of each number that "fsq" rounds."""
    entropy: Amount = 0.1
    """Weight of the entropies that "lfq" is trained for."""

    def build(self, fields: Fields) -> VQCodec:
        """The game for images.

        Raises:
          ValueError: for signs of a number of codes that is no power of two.
        """
        shape, _ = of_images(fields)
        multiple = 1 << self.halvings
        height, width = (side // multiple for side in whole(shape[:2], multiple))
        quantiser = QUANTISERS[self.quantiser](self)
        options = {
            "halvings": self.halvings,
            "channels": self.channels,
            "residual_channels": self.residual_channels,
            "residual_layers": self.residual_layers,
            "code_width": quantiser.width,
        }
        encoder = padded(lambda size: network(Encoder, inputs=shape[-1], **options), shape[:2], multiple)
        decoder = padded(lambda size: network(Decoder, outputs=shape[-1], **options), shape[:2], multiple)
        return VQCodec(shape, encoder, decoder, (height, width), quantiser)


QUANTISERS: dict[str, Callable[[VQCodecConfig], Quantiser]] = {
    "averages": lambda of: quantisers.averages(
        of.codes, of.code_width, beta=of.beta, decay=of.codebook_decay, restart_below=of.restart_below
    ),
    "gradient": lambda of: quantisers.gradient(of.codes, of.code_width, beta=of.beta),
    "fsq": lambda of: quantisers.fsq(of.levels),
    "lfq": lambda of: quantisers.lfq(of.codes, beta=of.beta, weight=of.entropy),
}


@plain
class VQVAEConfig:
    """An autoregressive prior over the codes of a codec that an earlier run has trained."""

    codec: Configuration = VQCodecConfig()
    """The codec, with a grid of codes."""
    prior_width: Count = 128
    """Width of the prior's residual stream."""
    prior_layers: Depth = 4
    """Blocks of the prior."""
    prior_heads: Count = 4
    """Attention heads of a transformer."""
    conditional: bool = False
    """Condition the prior on the label, where the data has labels."""
    prior: Literal["transformer", "pixelcnn"] = "transformer"
    """Which prior."""
    kernel: Annotated[int, Within(3)] = 3
    """Side of the kernels of a PixelCNN, odd."""
    keep_codes: Share = 1.0
    """Share of codes that the prior is told as they are while it learns."""
    choice: Choice = Choice()
    """How a code is drawn of its distribution."""

    def __post_init__(self) -> None:
        if self.prior_width % self.prior_heads and self.prior == "transformer":
            raise ValueError(
                f"prior_width: expected a multiple of the {self.prior_heads} heads, got {self.prior_width}"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, got {self.kernel}")

    def build(self, fields: Fields) -> Latent:
        """The game for images.

        Raises:
          ValueError: if the codec cannot be built or has no grid of codes, or labels are asked for and missing.
        """
        codec, classes = self.codec.build(fields), known_classes(fields, conditional=self.conditional)
        if not hasattr(codec, "grid"):
            raise ValueError(f"expected a codec with a grid of codes, got {type(self.codec).__name__}")
        codes, length = codec.latent_field.size, codec.length
        if self.prior == "pixelcnn":
            size = {"width": self.prior_width, "layers": self.prior_layers, "kernel": self.kernel}
            net, draw = network(PixelCNN, codes=codes, size=codec.grid, classes=classes, **size), one_by_one(length)
        else:
            size = {"width": self.prior_width, "layers": self.prior_layers, "heads": self.prior_heads}
            net = network(CausalTransformer, codes=codes, length=length, classes=classes, **size)
            draw = with_cache(length, codes, **size)
        prior = Autoregressive(codec.grid, codes, classes, net, draw, self.choice, self.keep_codes, makes=LATENT)
        return Latent(codec, prior)


REFERENCE = VQVAEConfig(VQCodecConfig(channels=128, codes=512, code_width=64), prior_width=256, prior_layers=8)
"""CIFAR-10 in the layout of DeepMind's example: codec 662,723 parameters, codebook 512 x 64."""
SMALL = VQVAEConfig()
"""For 28x28 Fashion-MNIST on a CPU: 7x7 codes."""
ROUNDED = VQVAEConfig(VQCodecConfig(quantiser="fsq", levels=(5, 5, 5)))
"""The same with 125 codes of three rounded numbers and no codebook."""
SIGNED = VQVAEConfig(VQCodecConfig(quantiser="lfq", codes=128))
"""The same with 128 codes of seven signs."""
GATED = VQVAEConfig(prior="pixelcnn", prior_width=64, prior_layers=6)
"""The small codec under a PixelCNN."""
DIGITS = VQVAEConfig(VQCodecConfig(halvings=1, codes=64), prior_width=64, prior_layers=2)
"""For 8x8 images: 4x4 codes."""
