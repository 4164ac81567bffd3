"""The vector-quantised variational autoencoder and an autoregressive prior over its codes.

van den Oord, Vinyals and Kavukcuoglu 2017, "Neural Discrete Representation Learning" (arXiv:1711.00937).

(1) codec loss    |x - D(z_q)|^2 / var(x) + beta |E(x) - sg(z_q)|^2; the codebook follows by moving averages
(2) prior         p(k) = prod_i p(k_i | k_<i, class), a causal transformer; loss -log p(k), nats per image
(3) bound         log p(x) >= log p(x | z_q) + log p(k(x)), since p(x) is a sum over all codes of such products

They are trained in two stages, each a game and a run of its own: the codec, whose prior is uniform as in the paper, and
then the prior, with the codec a player who never moves again. Samples come from averaged weights, and the prior learns
the codes of the averaged codec.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Depth, Fraction, plain
from gen_jax.fields import SYMBOL, Field, Fields, known_classes, of_images
from gen_jax.losses import quantize
from gen_jax.losses.quantize import Codebook
from gen_jax.networks.transformer import CausalTransformer, empty_cache
from gen_jax.networks.vqvae import Decoder, Encoder
from gen_jax.nn.fit import padded, whole
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

VARIANCE_DECAY = 0.99  # a step, of the running variances of the data and of the reconstruction error


@dataclass(frozen=True)
class VQCodec:
    """A game of one player, ``codec``."""

    shape: tuple[int, int, int]
    encoder: Network  # x [B, H, W, C] -> [B, h, w, code_width]
    decoder: Network  # z_q [B, h, w, code_width] -> mean image [B, H, W, C]
    grid: tuple[int, int]  # h, w
    codes: int
    code_width: int
    beta: float
    codebook_decay: float
    restart_below: float

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
        """Both networks, and codes drawn at the scale of the encoder's outputs."""
        keys = jax.random.split(key, 4)
        encoder, _ = self.encoder.init(keys[0])
        decoder, _ = self.decoder.init(keys[1])
        codebook = quantize.new_codebook(jax.random.normal(keys[3], (self.codes, self.code_width)))
        carried = {**codebook._asdict(), "data_variance": jnp.ones(()), "variance": jnp.ones(())}
        return {"codec": {"encoder": encoder, "decoder": decoder}}, {"codec": carried}

    def codec_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(1), a mean over pixels; quantises with the codebook as it was, then moves it."""
        x = batch["image"]
        z, _ = self.encoder.apply(params["codec"]["encoder"], {}, x)
        codebook = _codebook(buffers)
        index = quantize.nearest(z, codebook.codes)
        z_q = codebook.codes[index]
        decoded = self._decode(params, quantize.straight_through(z, z_q))
        error = jnp.mean((x - decoded) ** 2)
        variances = {"data_variance": jnp.var(x), "variance": error}
        first = step == 0
        carried = {
            name: jnp.where(first, new, VARIANCE_DECAY * buffers["codec"][name] + (1 - VARIANCE_DECAY) * new)
            for name, new in jax.lax.stop_gradient(variances).items()
        }
        moved = quantize.follow(codebook, z, index, decay=self.codebook_decay)
        if self.restart_below:
            moved = quantize.restart(moved, z, key, below=self.restart_below)
        reconstruction = error / jnp.maximum(carried["data_variance"], 1e-6)
        commitment = quantize.commitment(z, z_q)
        figures = {
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": quantize.perplexity(index, self.codes),
        }
        return reconstruction + self.beta * commitment, Aux(figures, {"codec": {**moved._asdict(), **carried}})

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """Codes int32 ``[B, h w]`` of images ``[B, H, W, C]``."""
        z, _ = self.encoder.apply(params["codec"]["encoder"], {}, x)
        return quantize.nearest(z, _codebook(buffers).codes).reshape(x.shape[0], -1)

    def decode(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        """Images ``[B, H, W, C]`` in [-1, 1] of codes int32 ``[B, h w]``."""
        return jnp.clip(self._decode(params, self._chosen(buffers, index)), -1.0, 1.0)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Decoded draws of the codec's own prior, which is uniform over all codes."""
        return self.decode(params, buffers, jax.random.randint(key, (n, self.length), 0, self.codes))

    @property
    def codec_player(self) -> str:
        """The only one."""
        return "codec"

    @property
    def latent_field(self) -> Field:
        """The codes of an image, in rows."""
        return Field((self.length,), SYMBOL, self.codes)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The codes of images."""
        return self.encode(params, buffers, x)

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The images of codes."""
        return self.decode(params, buffers, z)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (3) with a uniform prior, nats ``[B]``."""
        prior = self.length * math.log(self.codes)
        return self.log_likelihood(params, buffers, key, batch["image"]) - prior

    def log_likelihood(self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array) -> jax.Array:
        """Log p(x | z_q) of dequantised images, nats ``[B]``: a Gaussian of the training's mean squared error."""
        index = self.encode(params, buffers, x)
        z_q = self._chosen(buffers, index)
        x = distributions.dequantise(key, x)
        log_variance = jnp.log(buffers["codec"]["variance"])
        pixels = distributions.normal_log_prob(x, self._decode(params, z_q), log_variance) + jnp.log(
            distributions.LEVEL
        )
        return pixels.sum(axis=(1, 2, 3))

    def _chosen(self, buffers: Buffers, index: jax.Array) -> jax.Array:
        return _codebook(buffers).codes[index].reshape(-1, *self.grid, self.code_width)

    def _decode(self, params: Params, z_q: jax.Array) -> jax.Array:
        return self.decoder.apply(params["codec"]["decoder"], {}, z_q)[0]


@dataclass(frozen=True)
class VQVAE:
    """A game of two players: ``codec``, who never moves, and ``prior``, with ``classes > 0`` a conditional one."""

    codec: VQCodec
    classes: int
    prior: Network  # codes int32 [B, h w], label int32 [B] -> logits [B, h w, codes]
    prior_size: tuple[tuple[str, int], ...]  # width, layers and heads, for the cache

    makes: ClassVar[str] = "image"
    begins: ClassVar[tuple[str, ...]] = ("codec",)  # players that are trained before
    log_prob_kind: ClassVar[str] = "lower bound"

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        return self.codec.shape

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (2)."""
        return (Turn("prior", self.prior_loss),)

    @property
    def length(self) -> int:
        """Codes of an image."""
        return self.codec.length

    @property
    def network_evaluations(self) -> int:
        """One pass of the prior for each code and one of the decoder."""
        return self.length + 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The prior, and a codec in whose place a run puts a trained one."""
        params, buffers = self.codec.init(key, batch)
        prior, _ = self.prior.init(jax.random.split(key, 4)[2])
        return {**params, "prior": prior}, {**buffers, "prior": {}}

    def prior_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(2), in nats per image."""
        index = self.codec.encode(params, buffers, batch["image"])
        nats = -self.prior_log_prob(params, index, self._label(batch)).mean()
        return nats, Aux({"nats_per_code": nats / self.length})

    def prior_log_prob(self, params: Params, index: jax.Array, label: jax.Array) -> jax.Array:
        """Exact log-probability (2) of codes int32 ``[B, h w]``, nats ``[B]``."""
        logits, _ = self.prior.apply(params["prior"], {}, index, label)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), index[..., None], axis=-1).sum(axis=(-2, -1))

    def sample_codes(self, params: Params, key: jax.Array, label: jax.Array) -> jax.Array:
        """Codes int32 ``[n, h w]`` drawn one after the other from (2), with a cache; ``label`` is int32 ``[n]``."""

        def step(carry: tuple[jax.Array, Tree], position: jax.Array) -> tuple[tuple[jax.Array, Tree], jax.Array]:
            token, cache = carry
            (logits, cache), _ = self.prior.apply(
                params["prior"], {}, token, position, cache, method=CausalTransformer.step
            )
            code = jax.random.categorical(jax.random.fold_in(key, position), logits).astype(jnp.int32)
            return (code, cache), code

        cache = empty_cache(label.shape[0], self.length, **dict(self.prior_size))
        start = (self.codec.codes + label).astype(jnp.int32)
        _, index = jax.lax.scan(step, (start, cache), jnp.arange(self.length))
        return index.T

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Decoded draws of the prior."""
        code_key, _ = jax.random.split(key)
        label = jnp.zeros(n, jnp.int32) if label is None else label
        return self.codec.decode(params, buffers, self.sample_codes(params, code_key, label))

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (3), nats ``[B]``."""
        index = self.codec.encode(params, buffers, batch["image"])
        given_codes = self.codec.log_likelihood(params, buffers, key, batch["image"])
        return given_codes + self.prior_log_prob(params, index, self._label(batch))

    def _label(self, batch: Batch) -> jax.Array:
        return batch["label"] if self.classes else jnp.zeros(batch["image"].shape[0], jnp.int32)


def _codebook(buffers: Buffers) -> Codebook:
    return Codebook(*(buffers["codec"][name] for name in Codebook._fields))


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
    """Number of codes."""
    code_width: Count = 16
    """Dimensions of a code."""
    beta: Amount = 0.25
    """Weight of the commitment loss."""
    codebook_decay: Fraction = 0.99
    """Decay per step of the codebook's moving averages."""
    restart_below: Amount = 0.5
    """A code used less often than this a batch, on average, restarts at a random encoder output; 0: never."""

    def build(self, fields: Fields) -> VQCodec:
        """The game for images."""
        shape, _ = of_images(fields)
        multiple = 1 << self.halvings
        height, width = (side // multiple for side in whole(shape[:2], multiple))
        options = {
            "halvings": self.halvings,
            "channels": self.channels,
            "residual_channels": self.residual_channels,
            "residual_layers": self.residual_layers,
            "code_width": self.code_width,
        }
        return VQCodec(
            shape=shape,
            encoder=padded(lambda size: network(Encoder, inputs=shape[-1], **options), shape[:2], multiple),
            decoder=padded(lambda size: network(Decoder, outputs=shape[-1], **options), shape[:2], multiple),
            grid=(height, width),
            codes=self.codes,
            code_width=self.code_width,
            beta=self.beta,
            codebook_decay=self.codebook_decay,
            restart_below=self.restart_below,
        )


@plain
class VQVAEConfig:
    """A causal transformer as the prior of a VQ-VAE, whose codec an earlier run has trained."""

    codec: VQCodecConfig = VQCodecConfig()
    """The codec."""
    prior_width: Count = 128
    """Width of the prior's residual stream."""
    prior_layers: Depth = 4
    """Blocks of the prior."""
    prior_heads: Count = 4
    """Attention heads of the prior."""
    conditional: bool = False
    """Condition the prior on the label, where the data has labels."""

    def __post_init__(self) -> None:
        if self.prior_width % self.prior_heads:
            raise ValueError(
                f"prior_width: expected a multiple of the {self.prior_heads} heads, got {self.prior_width}"
            )

    def build(self, fields: Fields) -> VQVAE:
        """The game for images.

        Raises:
          ValueError: if the codec cannot be built, or labels are asked for and missing.
        """
        codec, classes = self.codec.build(fields), known_classes(fields, conditional=self.conditional)
        size = {"width": self.prior_width, "layers": self.prior_layers, "heads": self.prior_heads}
        prior = network(CausalTransformer, codes=self.codec.codes, length=codec.length, classes=classes, **size)
        return VQVAE(codec, classes, prior, tuple(size.items()))


REFERENCE = VQVAEConfig(VQCodecConfig(channels=128, codes=512, code_width=64), prior_width=256, prior_layers=8)
"""CIFAR-10 in the layout of DeepMind's example: codec 662,723 parameters, codebook 512 x 64."""
SMALL = VQVAEConfig()
"""For 28x28 Fashion-MNIST on a CPU: 7x7 codes."""
DIGITS = VQVAEConfig(VQCodecConfig(halvings=1, codes=64), prior_width=64, prior_layers=2)
"""For 8x8 images: 4x4 codes."""
