"""A VAE of what another one leaves over: coarse images first, then their residuals.

After Cai, Gao and Ji 2017, "Multi-Stage Variational Auto-Encoders for Coarse-to-Fine Image Generation"
(arXiv:1705.07202): a VAE makes a coarse image, and a second network, with a loss of its own, refines it. No code of it
is public and its equations were not at hand; these are ours, with latents in the second stage as well:

(1) z ~ p(z),  c = the mean of p(x | z)                              the first VAE, at rest
(2) u ~ N(0, I),  x ~ N(c + g(u, c), s^2 I)                          g begins at 0: the second stage adds nothing
(3) q(u | x, c) = N(m(x - c, c), diag s(x - c, c)^2)
(4) L(x) = E_q(z|x) [E_q(u|x,c) log p(x | u, c) - beta KL(q(u | x, c) || p(u))]       the loss is -L, nats per example
(5) log p(x) >= E log (1/k) sum_i p(x | u_i, c_i) p(u_i) p(z_i) / q(u_i | x, c_i) q(z_i | x)

In (4) beta rises from 0 in a line over the first kl_warmup: g is 0 at first, u says nothing, and a KL term of full
weight would leave it at that. The first stage's KL is left out: it does not change. The variance in (2) is that which
is best for every batch, and the model's its running average, as in :mod:`gen_jax.models.vae`. A sample is the mean
c + g(u, c).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Number, plain
from gen_jax.fields import REAL, Field, Fields, of_images
from gen_jax.losses.elbo import elbo, importance_weighted_bound
from gen_jax.models.likelihoods import GAUSSIAN
from gen_jax.models.vae import CODEC, VAE, VARIANCE_DECAY
from gen_jax.networks.refiner import DenseRefiner, Refiner
from gen_jax.networks.vae import ConvEncoder, DenseEncoder
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Configuration, Network, Params, Turn


@dataclass(frozen=True)
class ResidualVAE:
    """A game of one player who moves, ``refiner``, and one who does not, ``codec``: the first VAE."""

    codec: VAE
    encoder: Network  # x - c and c, [B, H, W, 2 C] -> mean and log-variance of u, [B, 2 latent]
    decoder: Network  # u [B, latent], c [B, H, W, C] -> g, [B, H, W, C]
    latent: int
    beta: float
    kl_warmup: int
    importance_samples: int

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()
    begins: ClassVar[tuple[str, ...]] = ("codec",)
    log_prob_kind: ClassVar[str] = GAUSSIAN.log_prob_kind

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend the negative bound (4)."""
        return (Turn("refiner", self.loss),)

    @property
    def network_evaluations(self) -> int:
        """A pass of either decoder."""
        return 1 + self.codec.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks, and a first VAE in whose place a run puts a trained one."""
        keys = jax.random.split(key, 3)
        encoder, encoder_buffers = self.encoder.init(keys[0])
        decoder, decoder_buffers = self.decoder.init(keys[1])
        codec, carried = self.codec.init(keys[2], batch)
        own = {"encoder": encoder_buffers, "decoder": decoder_buffers, "log_variance": jnp.zeros(())}
        return {"codec": codec["vae"], "refiner": {"encoder": encoder, "decoder": decoder}}, {
            "codec": carried["vae"],
            "refiner": own,
        }

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """Minus (4), in nats per example."""
        target_key, z_key, u_key = jax.random.split(key, 3)
        x, target = batch["image"], GAUSSIAN.target(target_key, batch["image"])
        c = self._coarse(params, buffers, distributions.normal_sample(z_key, *self._codec_moments(params, buffers, x)))
        moments = self.encode(params, buffers, x, c)
        raw = self._refined(params, buffers, distributions.normal_sample(u_key, *moments), c)
        best = GAUSSIAN.log_variance(target, raw)
        log_likelihood = GAUSSIAN.log_prob(target, raw, best)
        kl = distributions.standard_normal_kl(*moments).sum(axis=-1)
        own = buffers["refiner"]
        average = VARIANCE_DECAY * own["log_variance"] + (1 - VARIANCE_DECAY) * best
        figures = {
            "log_likelihood": log_likelihood.mean(),
            "kl": kl.mean(),
            "error": jnp.square(x - raw).mean(),
            "coarse_error": jnp.square(x - c).mean(),
        }
        carried = {"refiner": {**own, "log_variance": average}}
        risen = jnp.minimum(step / self.kl_warmup, 1.0) if self.kl_warmup else 1.0
        return -elbo(log_likelihood, kl, beta=self.beta * risen).mean(), Aux(figures, carried)

    def encode(self, params: Params, buffers: Buffers, x: jax.Array, coarse: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of (3), each ``[B, latent]``."""
        seen = jnp.concatenate([x - coarse, coarse], axis=-1)
        output, _ = self.encoder.apply(params["refiner"]["encoder"], buffers["refiner"]["encoder"], seen)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        return mean, log_variance

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """(1) and the mean of (2)."""
        latents = jax.random.normal(key, (n, *self.latent_field.shape))
        return self.from_latents(params, buffers, latents)

    @property
    def latent_field(self) -> Field:
        """The latents of both stages, one behind the other."""
        return Field((self.codec.latent + self.latent,), REAL)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The means of q(z | x) and, for the coarse image of that, of (3)."""
        z = self._codec_moments(params, buffers, x)[0]
        u = self.encode(params, buffers, x, self._coarse(params, buffers, z))[0]
        return jnp.concatenate([z, u], axis=-1)

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The means of (2) for latents of both stages."""
        coarse = self._coarse(params, buffers, z[:, : self.codec.latent])
        return GAUSSIAN.mean(self._refined(params, buffers, z[:, self.codec.latent :], coarse))

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """(5) with ``importance_samples`` draws, nats ``[B]``."""
        target_key, latent_key = jax.random.split(key)
        x, target = batch["image"], GAUSSIAN.target(target_key, batch["image"])
        first = self._codec_moments(params, buffers, x)

        def log_weight(key: jax.Array) -> jax.Array:
            z_key, u_key = jax.random.split(key)
            z = distributions.normal_sample(z_key, *first)
            c = self._coarse(params, buffers, z)
            second = self.encode(params, buffers, x, c)
            u = distributions.normal_sample(u_key, *second)
            raw = self._refined(params, buffers, u, c)
            log_likelihood = GAUSSIAN.log_prob(target, raw, buffers["refiner"]["log_variance"])
            return log_likelihood + _prior_over_posterior(z, first) + _prior_over_posterior(u, second)

        log_weights = jax.lax.map(log_weight, jax.random.split(latent_key, self.importance_samples))
        return importance_weighted_bound(log_weights) + math.prod(x.shape[1:]) * GAUSSIAN.level_log_prob

    def _codec_moments(self, params: Params, buffers: Buffers, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.codec.encode(*_of_codec(params, buffers), x)

    def _coarse(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        return self.codec.decode(*_of_codec(params, buffers), z)

    def _refined(self, params: Params, buffers: Buffers, u: jax.Array, coarse: jax.Array) -> jax.Array:
        own, carried = params["refiner"]["decoder"], buffers["refiner"]["decoder"]
        return coarse + self.decoder.apply(own, carried, u, coarse)[0]


def _of_codec(params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
    return {"vae": params["codec"]}, {"vae": buffers["codec"]}


def _prior_over_posterior(z: jax.Array, moments: tuple[jax.Array, jax.Array]) -> jax.Array:
    zero = jnp.zeros_like(z)
    return (distributions.normal_log_prob(z, zero, zero) - distributions.normal_log_prob(z, *moments)).sum(axis=-1)


@plain
class ResidualVAEConfig:
    """A first VAE and one of its residuals as plain data."""

    codec: Configuration
    """Of the first VAE, as it was trained; without labels, with N(0, I) for its prior."""
    latent: Count = 32
    """Latent dimensions of the second stage."""
    widths: tuple[Count, ...] = (32, 64)
    """Channels of its stride-2 convolutions, from the image inwards; each halves the side; none: perceptrons."""
    dense: tuple[Count, ...] = (256,)
    """Widths of the dense layers between the convolutions, or the image, and the latents."""
    features: Count = 8
    """Channels that the latents' decoder lays beside the coarse image, where there are convolutions."""
    beta: Amount = 1.0
    """Weight of the second stage's KL term; 1 is the evidence lower bound."""
    kl_warmup: Number = 500
    """Steps over which it rises to this."""
    importance_samples: Count = 16
    """Draws per image of the reported bound."""

    def __post_init__(self) -> None:
        if not self.widths and not self.dense:
            raise ValueError("dense: expected a width or more for perceptrons, got none")

    def build(self, fields: Fields) -> ResidualVAE:
        """The game for images of any size.

        Raises:
          ValueError: if the first model is no VAE of images without labels.
        """
        shape, _ = of_images(fields)
        codec = self.codec.build(fields)
        if not isinstance(codec, VAE) or codec.given or codec.makes != "image":
            raise ValueError(f"codec: expected a VAE of images without labels, got {self.codec!r}")
        numbers = self.latent, self.beta, self.kl_warmup, self.importance_samples
        if not self.widths:
            both = (*shape[:-1], 2 * shape[-1])
            encoder = network(DenseEncoder, shape=both, outputs=2 * self.latent, hidden=self.dense)
            decoder = network(DenseRefiner, shape=shape, latent=self.latent, hidden=self.dense[::-1])
            return ResidualVAE(codec, encoder, decoder, *numbers)
        options = {"widths": self.widths, "dense": self.dense}
        encode = partial(network, ConvEncoder, channels=2 * shape[-1], outputs=2 * self.latent, **options)
        decode = partial(network, Refiner, channels=shape[-1], latent=self.latent, features=self.features, **options)
        encoder, decoder = (padded(make, shape[:2], 1 << len(self.widths)) for make in (encode, decode))
        return ResidualVAE(codec, encoder, decoder, *numbers)


SMALL = ResidualVAEConfig(CODEC, widths=(), dense=(512, 512))
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU."""
