"""VQGAN: codes of images that a critic has judged, and a transformer over them.

Esser, Rombach and Ommer 2021, "Taming transformers for high-resolution image synthesis" (arXiv:2012.09841). A codec E,
q, G of images x' = G(q(E(x))), a critic D of patches, and the perceptual distance d of
:mod:`gen_jax.losses.perceptual`; means over numbers and patches:

(1) r       E |x - x'| + perceptual E d(x, x')
(2) codec   r + l (- E D(x')) + what the quantiser adds
(3) l       weight min(|grad_W r| / (|grad_W E D(x')| + 1e-4), 1e4), W the kernel of the decoder's last layer; no
            gradient is taken of it, and it is 0 before the critic starts
(4) critic  1/2 E relu(1 - D(x)) + 1/2 E relu(1 + D(x'))
(5) prior   -log p(codes | class), a transformer of :mod:`gen_jax.models.vqvae`, in a run of its own

The features of d are a player who never moves, ``perceiver``, whom a run is begun with. In the paper they are VGG's,
whose weights cannot be had everywhere; here they are those of the classifier by whose features samples are measured, so
that a Frechet distance in these flatters this model beside others.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Number, plain
from gen_jax.fields import SYMBOL, Field, Fields, of_images
from gen_jax.losses.adversarial import hinge
from gen_jax.losses.perceptual import perceptual
from gen_jax.models import collapse, quantisers
from gen_jax.models.quantisers import Quantiser
from gen_jax.models.vqvae import VQVAEConfig
from gen_jax.networks.classifier import Classifier
from gen_jax.networks.vqgan import Decoder, Encoder, PatchCritic
from gen_jax.nn.fit import padded, whole
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Configuration, Network, Params, Tree, Turn

_MULTIPLE = 4  # of the sides that a critic sees


@dataclass(frozen=True)
class VQGANCodec:
    """The game of (1) to (4), of players ``codec``, ``critic`` and, at rest, ``perceiver``.

    Attributes:
      shape: of an image.
      encoder: ``x [B, H, W, C] -> [B, h, w, D]``.
      decoder: its mirror.
      critic: ``x -> logits [B, ...]``.
      perceiver: ``x`` to features of layers; None without (1)'s second part.
      grid: h and w.
      quantiser: of its outputs.
      perceptual: weight in (1).
      weight: in (3).
      start: steps before the critic is trained and counts.
    """

    shape: tuple[int, int, int]
    encoder: Network
    decoder: Network
    critic: Network
    perceiver: Network | None
    grid: tuple[int, int]
    quantiser: Quantiser
    perceptual: float
    weight: float
    start: int

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()

    @property
    def begins(self) -> tuple[str, ...]:
        """Who is trained before."""
        return ("perceiver",) if self.perceiver else ()

    @property
    def length(self) -> int:
        """Codes of an image."""
        return self.grid[0] * self.grid[1]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The codec, then the critic."""
        return (Turn("codec", self.codec_loss), Turn("critic", self.critic_loss, start=self.start))

    @property
    def network_evaluations(self) -> int:
        """One of the decoder."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """All players; a run puts the perceiver that it is given in the place of this one."""
        keys = jax.random.split(key, 5)
        encoder, decoder = self.encoder.init(keys[0])[0], self.decoder.init(keys[1])[0]
        learned, carried = self.quantiser.init(keys[2])
        carried = {**carried, "idle": quantisers.unused(self.quantiser.codes)}
        made = {"codec": ({"encoder": encoder, "decoder": decoder, "codebook": learned}, carried)}
        made["critic"] = self.critic.init(keys[3])
        if self.perceiver:
            made["perceiver"] = self.perceiver.init(keys[4])
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def codec_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2); its metrics are the parts of (1), the weight (3) and how codes are used."""
        x, own = batch["image"], params["codec"]
        coded = self._coded(params, buffers, x, key)
        made = self._decoded(own["decoder"], coded.z_q)
        parts = self._distances(params, buffers, x, made)
        judged = -self._logits(params, buffers, made)[0].mean()
        weight = jnp.where(step >= self.start, self.balance(params, buffers, x, coded.z_q), 0.0)
        idle, used = quantisers.use(coded.codes, buffers["codec"]["idle"])
        figures = {**parts, "weight": weight, **coded.figures, **used}
        carried = {"codec": {**buffers["codec"], **coded.buffers, "idle": idle}}
        return self._distance(parts) + weight * judged + coded.loss, Aux(figures, carried)

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(4)."""
        x = batch["image"]
        made = self._decoded(params["codec"]["decoder"], self._coded(params, buffers, x, key).z_q)
        real, statistics = self._logits(params, buffers, x)
        fake, statistics = self._logits(params, {**buffers, "critic": statistics}, made)
        over_patches = [logits.reshape(len(x), -1).mean(axis=1) for logits in (real, fake)]
        figures = {"real_logit": real.mean(), "fake_logit": fake.mean(), "gap": collapse.gap(*over_patches)}
        return 0.5 * hinge.critic(real, fake), Aux(figures, {"critic": statistics})

    def balance(self, params: Params, buffers: Buffers, x: jax.Array, z_q: jax.Array) -> jax.Array:
        """(3) at images and what their codes stand for, without a gradient."""
        params, z_q = jax.lax.stop_gradient((params, z_q))
        decoder = params["codec"]["decoder"]

        def made(kernel: jax.Array) -> jax.Array:
            return self._decoded({**decoder, "output": {**decoder["output"], "kernel": kernel}}, z_q)

        def distance(kernel: jax.Array) -> jax.Array:
            return self._distance(self._distances(params, buffers, x, made(kernel)))

        def judged(kernel: jax.Array) -> jax.Array:
            return self._logits(params, buffers, made(kernel))[0].mean()

        norms = [jnp.linalg.norm(jax.grad(of)(decoder["output"]["kernel"])) for of in (distance, judged)]
        return self.weight * jnp.minimum(norms[0] / (norms[1] + 1e-4), 1e4)

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """Codes int32 ``[B, h w]`` of images ``[B, H, W, C]``."""
        own = params["codec"]
        z, _ = self.encoder.apply(own["encoder"], {}, x)
        return self.quantiser.encode(own["codebook"], buffers["codec"], z).reshape(len(x), -1)

    def decode(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        """Images in [-1, 1] of codes int32 ``[B, h w]``, or of a grid ``[B, ...]`` of another size."""
        grid, own = self.grid if index.ndim == 2 else index.shape[1:], params["codec"]
        z_q = self.quantiser.decode(own["codebook"], buffers["codec"], index.reshape(len(index), *grid))
        return jnp.clip(self._decoded(own["decoder"], z_q), -1.0, 1.0)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Decoded draws of a uniform law of all codes."""
        return self.decode(params, buffers, jax.random.randint(key, (n, self.length), 0, self.quantiser.codes))

    @property
    def codec_player(self) -> str:
        """Who encodes and decodes."""
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

    def _distance(self, parts: dict[str, jax.Array]) -> jax.Array:
        return parts["absolute"] + self.perceptual * parts.get("perceptual", 0.0)

    def _coded(self, params: Params, buffers: Buffers, x: jax.Array, key: jax.Array) -> quantisers.Coded:
        own = params["codec"]
        z, _ = self.encoder.apply(own["encoder"], {}, x)
        return self.quantiser.learn(own["codebook"], buffers["codec"], z, key)

    def _decoded(self, decoder: Tree, z_q: jax.Array) -> jax.Array:
        return self.decoder.apply(decoder, {}, z_q)[0]

    def _distances(self, params: Params, buffers: Buffers, x: jax.Array, made: jax.Array) -> dict[str, jax.Array]:
        parts = {"absolute": jnp.abs(x - made).mean()}
        if self.perceiver:
            apply = partial(self.perceiver.apply, params["perceiver"], buffers["perceiver"], method=Classifier.layers)
            parts["perceptual"] = perceptual(apply(x)[0], apply(made)[0]).mean()
        return parts

    def _logits(self, params: Params, buffers: Buffers, x: jax.Array) -> tuple[jax.Array, Tree]:
        return self.critic.apply(params["critic"], buffers["critic"], x, train=True)


@plain
class VQGANCodecConfig:
    """The codec of a VQGAN, and its critic."""

    channels: Count = 16
    """Width that the multipliers multiply."""
    multipliers: tuple[Count, ...] = (1, 2, 4)
    """Of the widths of the levels, from the image inwards; each but the last halves the side."""
    blocks: Count = 1
    """Residual blocks per level of the encoder; the decoder has one more."""
    attention: tuple[Count, ...] = (7,)
    """Smaller sides of the levels with attention."""
    latent: Count = 64
    """Width behind the last level."""
    codes: Count = 128
    """Number of codes."""
    code_width: Count = 16
    """Dimensions of a code."""
    quantiser: Literal["averages", "gradient"] = "averages"
    """What the codebook follows: moving averages, with restarts of codes that are hardly used, or a gradient."""
    beta: Amount = 0.25
    """Weight of the commitment loss."""
    perceptual: Amount = 1.0
    """Weight of the perceptual distance; 0: none, and no perceiver."""
    critic_channels: Count = 16
    """Width of the critic's first layer."""
    strides: Count = 2
    """Halvings of the critic; the more, the larger its patches."""
    weight: Amount = 0.8
    """Of the critic's gradient at the decoder's last layer, in multiples of that of the distances."""
    start: Number = 250
    """Steps before the critic is trained and counts."""

    def build(self, fields: Fields) -> VQGANCodec:
        """The game for images.

        Raises:
          ValueError: if the images are too small for so many halvings of the critic.
        """
        shape, _ = of_images(fields)
        size, multiple = shape[:2], 1 << (len(self.multipliers) - 1)
        if min(whole(size, _MULTIPLE)) // 2**self.strides < 3:  # two more convolutions take a pixel each
            raise ValueError(f"strides: expected fewer for images of {size[0]}x{size[1]}, got {self.strides}")
        height, width = whole(size, multiple)
        options = {
            "channels": shape[2],
            "base": self.channels,
            "multipliers": self.multipliers,
            "blocks": self.blocks,
            "attention": self.attention,
            "latent": self.latent,
            "code_width": self.code_width,
        }
        critic = {"channels": shape[2], "width": self.critic_channels, "strides": self.strides}
        quantiser = partial(quantisers.averages, decay=0.99, restart_below=0.5)
        if self.quantiser == "gradient":
            quantiser = partial(quantisers.gradient)  # the same call
        return VQGANCodec(
            shape,
            padded(partial(network, Encoder, **options), size, multiple),
            padded(partial(network, Decoder, **options), size, multiple),
            padded(lambda size: network(PatchCritic, **critic), size, _MULTIPLE),
            network(Classifier, inputs=shape[2]) if self.perceptual else None,
            (height // multiple, width // multiple),
            quantiser(self.codes, self.code_width, beta=self.beta),
            self.perceptual,
            self.weight,
            self.start,
        )


@plain
class VQGANConfig(VQVAEConfig):
    """A transformer over the codes of a VQGAN, whose codec an earlier run has trained."""

    codec: Configuration = VQGANCodecConfig()
    """The codec, with a grid of codes."""


REFERENCE = VQGANConfig(
    VQGANCodecConfig(
        channels=128, multipliers=(1, 1, 2, 2, 4), blocks=2, attention=(16,), latent=256, codes=1024, code_width=256,
        quantiser="gradient", critic_channels=64, strides=3, start=250_000,
    ),
    prior_width=1024, prior_layers=24, prior_heads=16,
)  # fmt: skip
"""256x256 colour with 16x16 codes: codec 72,141,699 parameters, critic 2,765,633. Adam 4.5e-6 times the batch, betas
0.5 and 0.9. The published transformer of this width, of 512 positions, has 304,932,864, and a start for each class."""
SMALL = VQGANConfig()
"""For 28x28 Fashion-MNIST on a CPU: 7x7 codes."""
DIGITS = VQGANConfig(VQGANCodecConfig(channels=16, multipliers=(1, 2), attention=(), strides=1), 64, 2)
"""For 8x8 images: 4x4 codes."""
