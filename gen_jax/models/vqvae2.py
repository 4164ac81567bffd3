"""Two levels of codes, and a prior for each.

Razavi, van den Oord and Vinyals 2019, "Generating diverse high-fidelity images with VQ-VAE-2" (arXiv:1906.00446).

(1) top       t = q_t(E_t(x)),  a grid half as fine as the bottom's
(2) bottom    b = q_b(E_b(x, t)),  told the top
(3) codec     |x - D(t, b)|^2 / var(x) + what both quantisers add, as in :mod:`gen_jax.models.vqvae`
(4) priors    -log p(t | class),  -log p(b | t, class):  gated PixelCNNs, the two players of
              :mod:`gen_jax.models.level_priors`
(5) bound     log p(x) >= log p(x | t, b) + log p(b | t) + log p(t)

The codec is one run, each prior another, with those before it players who never move. Codes of an image are a row: the
top's, then the bottom's. The paper's priors attend as well, at their top; these do not.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Depth, Fraction, Share, plain
from gen_jax.fields import SYMBOL, Field, Fields, known_classes, of_images
from gen_jax.models import quantisers
from gen_jax.models.autoregressive import Autoregressive, Choice, one_by_one
from gen_jax.models.latent import Latent
from gen_jax.models.level_priors import LEVELS, LevelPriors
from gen_jax.models.quantisers import Quantiser
from gen_jax.models.vqvae import VARIANCE_DECAY
from gen_jax.networks.pixelcnn import PixelCNN
from gen_jax.networks.vqvae2 import TwoLevels
from gen_jax.nn.fit import Size, padded, whole
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


@dataclass(frozen=True)
class TwoLevelCodec:
    """A game of one player, ``codec``.

    Attributes:
      shape: of an image.
      net: a :class:`~gen_jax.networks.vqvae2.TwoLevels`.
      grids: of the top and of the bottom.
      quantiser: of either level; each has a codebook of its own.
    """

    shape: tuple[int, int, int]
    net: Network
    grids: tuple[Size, Size]
    quantiser: Quantiser

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()
    log_prob_kind: ClassVar[str] = "lower bound"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (3)."""
        return (Turn("codec", self.codec_loss),)

    @property
    def network_evaluations(self) -> int:
        """One of the decoder."""
        return 1

    @property
    def lengths(self) -> tuple[int, int]:
        """Codes of either level."""
        top, bottom = self.grids
        return math.prod(top), math.prod(bottom)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The networks and two codebooks."""
        keys = jax.random.split(key, 3)
        net, _ = self.net.init(keys[0])
        books = {level: self.quantiser.init(own) for level, own in zip(LEVELS, keys[1:])}
        own = {"data_variance": jnp.ones(()), "variance": jnp.ones(())}
        carried = {level: {**book[1], "idle": quantisers.unused(self.quantiser.codes)} for level, book in books.items()}
        return {"codec": {"net": net}}, {"codec": {**carried, **own}}

    def codec_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3), a mean over pixels; its metrics tell of the use of both codebooks."""
        x, own = batch["image"], buffers["codec"]
        keys = jax.random.split(key)
        z, features = self._apply(params, x)
        top = self.quantiser.learn({}, own["top"], z, keys[0])
        z = self._apply(params, features, top.z_q, method=TwoLevels.outputs_of_bottom)
        bottom = self.quantiser.learn({}, own["bottom"], z, keys[1])
        error = jnp.mean((x - self._apply(params, top.z_q, bottom.z_q, method=TwoLevels.decode)) ** 2)
        carried: dict[str, Any] = {
            name: jnp.where(step == 0, new, VARIANCE_DECAY * own[name] + (1 - VARIANCE_DECAY) * new)
            for name, new in jax.lax.stop_gradient({"data_variance": jnp.var(x), "variance": error}).items()
        }
        figures = {"reconstruction": error / jnp.maximum(carried["data_variance"], 1e-6)}
        for level, coded in zip(LEVELS, (top, bottom)):
            idle, used = quantisers.use(coded.codes, own[level]["idle"])
            carried[level] = {**coded.buffers, "idle": idle}
            figures |= {f"{level}_{name}": figure for name, figure in {**coded.figures, **used}.items()}
        return figures["reconstruction"] + top.loss + bottom.loss, Aux(figures, {"codec": carried})

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """Codes int32 ``[B, T + S]`` of images ``[B, H, W, C]``: those of the top, then of the bottom."""
        z, features = self._apply(params, x)
        top = self.quantiser.encode({}, buffers["codec"]["top"], z)
        q = self.quantiser.decode({}, buffers["codec"]["top"], top)
        z = self._apply(params, features, q, method=TwoLevels.outputs_of_bottom)
        bottom = self.quantiser.encode({}, buffers["codec"]["bottom"], z)
        return jnp.concatenate([top.reshape(len(x), -1), bottom.reshape(len(x), -1)], axis=1)

    def decode(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        """Images ``[B, H, W, C]`` in [-1, 1] of codes int32 ``[B, T + S]``."""
        return jnp.clip(self._mean(params, buffers, index), -1.0, 1.0)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Decoded draws of the codec's own prior, which is uniform over all codes."""
        index = jax.random.randint(key, (n, sum(self.lengths)), 0, self.quantiser.codes)
        return self.decode(params, buffers, index)

    @property
    def codec_player(self) -> str:
        """The only one."""
        return "codec"

    @property
    def latent_field(self) -> Field:
        """The codes of an image, in a row."""
        return Field((sum(self.lengths),), SYMBOL, self.quantiser.codes)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The codes of images."""
        return self.encode(params, buffers, x)

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The images of codes."""
        return self.decode(params, buffers, z)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (5) with uniform priors, nats ``[B]``."""
        prior = sum(self.lengths) * math.log(self.quantiser.codes)
        return self.log_likelihood(params, buffers, key, batch["image"]) - prior

    def log_likelihood(self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array) -> jax.Array:
        """Log p(x | t, b) of dequantised images, nats ``[B]``: a Gaussian of the training's mean squared error."""
        mean = self._mean(params, buffers, self.encode(params, buffers, x))
        x, log_variance = distributions.dequantise(key, x), jnp.log(buffers["codec"]["variance"])
        pixels = distributions.normal_log_prob(x, mean, log_variance) + distributions.log_level()
        return pixels.sum(axis=(1, 2, 3))

    def split(self, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The codes of either level, ``[B, T]`` and ``[B, S]``."""
        return index[:, : self.lengths[0]], index[:, self.lengths[0] :]

    def _mean(self, params: Params, buffers: Buffers, index: jax.Array) -> jax.Array:
        q = [
            self.quantiser.decode({}, buffers["codec"][level], part.reshape(len(part), *grid))
            for level, part, grid in zip(LEVELS, self.split(index), self.grids)
        ]
        return self._apply(params, *q, method=TwoLevels.decode)

    def _apply(self, params: Params, *inputs: jax.Array, **options: Any) -> Any:
        return self.net.apply(params["codec"]["net"], {}, *inputs, **options)[0]


@plain
class TwoLevelCodecConfig:
    """The codec of a VQ-VAE-2."""

    halvings: Depth = 2
    """Stride-2 convolutions between an image and the codes of the bottom; the top has one more."""
    channels: Count = 64
    """Width of the convolutions."""
    residual_channels: Count = 32
    """Width inside the residual layers."""
    residual_layers: Depth = 2
    """Residual layers in every part."""
    codes: Count = 128
    """Number of codes, of either level."""
    code_width: Count = 16
    """Dimensions of a code."""
    beta: Amount = 0.25
    """Weight of the commitment losses."""
    codebook_decay: Fraction = 0.99
    """Decay per step of the codebooks' moving averages."""
    restart_below: Amount = 0.5
    """A code used less often than this a batch, on average, restarts at a random encoder output; 0: never."""

    def build(self, fields: Fields) -> TwoLevelCodec:
        """The game for images."""
        shape, _ = of_images(fields)
        multiple = 2 << self.halvings
        height, width = whole(shape[:2], multiple)
        quantiser = quantisers.averages(
            self.codes, self.code_width, beta=self.beta, decay=self.codebook_decay, restart_below=self.restart_below
        )
        options = {
            "halvings": self.halvings,
            "channels": self.channels,
            "residual_channels": self.residual_channels,
            "residual_layers": self.residual_layers,
            "top_width": self.code_width,
            "bottom_width": self.code_width,
        }
        net = padded(lambda size: network(TwoLevels, image_channels=shape[-1], **options), shape[:2], multiple)
        top, bottom = ((height // by, width // by) for by in (multiple, multiple // 2))
        return TwoLevelCodec(shape, net, (top, bottom), quantiser)


@plain
class VQVAE2Config:
    """The priors of a VQ-VAE-2, whose codec an earlier run has trained."""

    codec: TwoLevelCodecConfig = TwoLevelCodecConfig()
    """The codec."""
    prior_width: Count = 48
    """Channels of both PixelCNNs."""
    top_layers: Depth = 5
    """Layers of the top's."""
    bottom_layers: Depth = 5
    """Layers of the bottom's."""
    keep_codes: Share = 1.0
    """Share of codes that a prior is told as they are while it learns."""
    choice: Choice = Choice()
    """How a code is drawn of its distribution."""
    conditional: bool = False
    """Condition both priors on the label, where the data has labels."""
    trains: Literal["top", "bottom", "both"] = "both"
    """Which priors move; the other one is of an earlier run, or its codes are still uniform."""

    def build(self, fields: Fields) -> Latent:
        """The game for images.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        codec, classes = self.codec.build(fields), known_classes(fields, conditional=self.conditional)
        codes, (top, bottom) = self.codec.codes, codec.grids
        net = partial(network, PixelCNN, codes=codes, classes=classes, width=self.prior_width)
        common: dict[str, Any] = {"codes": codes, "classes": classes, "choice": self.choice, "keep": self.keep_codes}
        priors = LevelPriors(
            Autoregressive(
                top,
                net=net(size=top, layers=self.top_layers),
                draw=one_by_one(math.prod(top)),
                player="top",
                makes="top",
                **common,
            ),
            Autoregressive(
                bottom,
                net=net(size=bottom, layers=self.bottom_layers, coarse=top, coarse_codes=codes),
                draw=one_by_one(math.prod(bottom)),
                player="bottom",
                makes="bottom",
                told=("top",),
                **common,
            ),
            trains=LEVELS if self.trains == "both" else (self.trains,),
        )
        return Latent(codec, priors)


REFERENCE = VQVAE2Config(
    TwoLevelCodecConfig(channels=128, codes=512, code_width=64), prior_width=256, top_layers=20, bottom_layers=20
)
"""256x256 colour: 32x32 and 64x64 codes; codec 1,388,867 parameters, codebooks 2 x 512 x 64."""
SMALL = VQVAE2Config()
"""For 28x28 Fashion-MNIST on a CPU: 4x4 and 8x8 codes."""
