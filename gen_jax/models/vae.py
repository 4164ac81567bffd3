"""The variational autoencoder.

Kingma and Welling 2014, "Auto-Encoding Variational Bayes" (arXiv:1312.6114); beta-VAE: Higgins et al. 2017; the
importance-weighted bound: Burda et al. 2016 (arXiv:1509.00519); the shared learned variance: Rybkin et al. 2021
(arXiv:2006.13202).

(1) p(x, z) = N(z; 0, I) p(x | z)               decoder
(2) q(z | x) = N(z; m(x), diag s(x)^2)          encoder
(3) L(x) = E_q log p(x|z) - beta KL(q || p)     the loss is -L, summed over pixels and latents
(4) L_k(x) = E log (1/k) sum_i p(x, z_i) / q(z_i | x) >= L(x), for beta = 1
(5) s^2 = mean (x - m(z))^2                     the variance of a Gaussian p(x | z) that maximises (3)

By the envelope theorem the gradient of (3) at the optimal variance (5) is the same whether or not one differentiates
through it, so training takes (5) of every batch; its running average in the buffers is the model's variance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import PIXELS, REAL, Field, Fields, known_classes, made_of, of_images
from gen_jax.losses.elbo import elbo, importance_weighted_bound
from gen_jax.networks.vae import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


class Likelihood(NamedTuple):
    """p(x | z) from the decoder's raw output of ``C * outputs`` channels and one log-variance for all pixels.

    ``log_variance(x, raw)`` is the optimal one for a batch, by (5), or 0 where the likelihood has none;
    ``target(key, x)`` makes the data that the likelihood is about (binarised, dequantised or as they are),
    ``log_prob(x, raw, log_variance)`` sums over the image, ``mean(raw)`` is the image shown as a sample, and
    ``level_log_prob`` is what one pixel's log-probability gains when a density is turned into a mass of 8-bit data.
    """

    outputs: int
    log_variance: Callable[[jax.Array, jax.Array], jax.Array]
    target: Callable[[jax.Array, jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]
    level_log_prob: float
    log_prob_kind: str


def _over_example(x: jax.Array) -> jax.Array:
    return x.sum(axis=tuple(range(1, x.ndim)))


def _no_variance(x: jax.Array, raw: jax.Array) -> jax.Array:
    return jnp.zeros(())


def _mean_and_log_scale(raw: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = jnp.split(raw, 2, axis=-1)
    return jnp.tanh(mean), jnp.maximum(log_scale - 2.0, -7.0)


BERNOULLI = Likelihood(
    outputs=1,
    log_variance=_no_variance,
    target=lambda key, x: (jax.random.uniform(key, x.shape) < 0.5 * (x + 1)).astype(jnp.float32),
    log_prob=lambda x, raw, log_variance: _over_example(distributions.bernoulli_log_prob(x, raw)),
    mean=lambda raw: 2 * jax.nn.sigmoid(raw) - 1,
    level_log_prob=0.0,
    log_prob_kind="lower bound, binarised",
)
GAUSSIAN = Likelihood(
    outputs=1,
    log_variance=lambda x, raw: jnp.log(jnp.mean((x - raw) ** 2) + 1e-8),
    target=distributions.dequantise,
    log_prob=lambda x, raw, log_variance: _over_example(distributions.normal_log_prob(x, raw, log_variance)),
    mean=lambda raw: jnp.clip(raw, -1.0, 1.0),
    level_log_prob=math.log(distributions.LEVEL),
    log_prob_kind="lower bound",
)
LOGISTIC = Likelihood(
    outputs=2,
    log_variance=_no_variance,
    target=lambda key, x: x,
    log_prob=lambda x, raw, log_variance: _over_example(
        distributions.discretised_logistic_log_prob(x, *_mean_and_log_scale(raw))
    ),
    mean=lambda raw: _mean_and_log_scale(raw)[0],
    level_log_prob=0.0,
    log_prob_kind="lower bound",
)
NUMBERS = GAUSSIAN._replace(target=lambda key, x: x, mean=lambda raw: raw, level_log_prob=0.0)
VARIANCE_DECAY = 0.99  # a step, of the running average of (5)
LIKELIHOODS = {"bernoulli": BERNOULLI, "gaussian": GAUSSIAN, "logistic": LOGISTIC}


def likelihood_of(name: str, field: Field) -> Likelihood:
    """The likelihood of this name for 8-bit pixels, or the Gaussian of real numbers, a density.

    Raises:
      ValueError: of another one for real numbers.
    """
    if field.kind is PIXELS:
        return LIKELIHOODS[name]
    if name != "gaussian":
        raise ValueError(f"expected likelihood='gaussian' for real numbers, got {name!r}, which is of pixels")
    return NUMBERS


@dataclass(frozen=True)
class VAE:
    """A game of one player, ``vae``: encoder and decoder.

    With ``classes > 0`` both networks also see the one-hot label.
    """

    shape: tuple[int, ...]
    classes: int
    encoder: Network  # x [B, H, W, C] -> mean and log-variance, [B, 2 latent]
    decoder: Network  # z [B, latent] -> raw likelihood parameters, [B, H, W, C outputs]
    likelihood: Likelihood
    latent: int
    beta: float = 1.0
    importance_samples: int = 1
    makes: str = "image"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend the negative bound (3)."""
        return (Turn("vae", self.loss),)

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One pass of the decoder."""
        return 1

    @property
    def log_prob_kind(self) -> str:
        """A lower bound; on binarised pixels where the likelihood is Bernoulli."""
        return self.likelihood.log_prob_kind

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks; in the buffers, log-variance 0."""
        keys = jax.random.split(key)
        encoder, encoder_buffers = self.encoder.init(keys[0])
        decoder, decoder_buffers = self.decoder.init(keys[1])
        params = {"encoder": encoder, "decoder": decoder}
        carried = {"encoder": encoder_buffers, "decoder": decoder_buffers, "log_variance": jnp.zeros(())}
        return {"vae": params}, {"vae": carried}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(3), in nats per example."""
        target_key, latent_key = jax.random.split(key)
        label = self._one_hot(batch.get("label"))
        x = self.likelihood.target(target_key, batch[self.makes])
        mean, log_variance = self.encode(params, buffers, batch[self.makes], label=label)
        z = distributions.normal_sample(latent_key, mean, log_variance)
        raw = self._raw(params, buffers, z, label)
        pixel_log_variance = self.likelihood.log_variance(x, raw)  # (5)
        log_likelihood = self.likelihood.log_prob(x, raw, pixel_log_variance)
        kl = distributions.standard_normal_kl(mean, log_variance).sum(axis=-1)
        bound = elbo(log_likelihood, kl, beta=self.beta).mean()
        average = VARIANCE_DECAY * buffers["vae"]["log_variance"] + (1 - VARIANCE_DECAY) * pixel_log_variance
        carried = {"vae": {**buffers["vae"], "log_variance": average}}
        return -bound, Aux({"log_likelihood": log_likelihood.mean(), "kl": kl.mean()}, carried)

    def encode(
        self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of (2), each ``[B, latent]``; ``label`` is one-hot ``[B, K]``."""
        output, _ = self.encoder.apply(params["vae"]["encoder"], buffers["vae"]["encoder"], x, label)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        return mean, log_variance

    def decode(self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The mean image of p(x | z), ``[B, H, W, C]`` in [-1, 1]; ``label`` is one-hot ``[B, K]``."""
        return self.likelihood.mean(self._raw(params, buffers, z, label))

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Mean images of latents drawn from the prior (1)."""
        latent_key, _ = jax.random.split(key)
        z = jax.random.normal(latent_key, (n, self.latent))
        return self.decode(params, buffers, z, label=self._one_hot(label))

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (4) with ``importance_samples`` draws (its one-sample form is the ELBO), nats ``[B]``."""
        target_key, latent_key = jax.random.split(key)
        label = self._one_hot(batch.get("label"))
        x = self.likelihood.target(target_key, batch[self.makes])
        mean, log_variance = self.encode(params, buffers, batch[self.makes], label=label)

        def log_weight(key: jax.Array) -> jax.Array:
            z = distributions.normal_sample(key, mean, log_variance)
            log_prior = distributions.normal_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z))
            log_posterior = distributions.normal_log_prob(z, mean, log_variance)
            raw = self._raw(params, buffers, z, label)
            log_likelihood = self.likelihood.log_prob(x, raw, buffers["vae"]["log_variance"])
            return log_likelihood + (log_prior - log_posterior).sum(axis=-1)

        log_weights = jax.lax.map(log_weight, jax.random.split(latent_key, self.importance_samples))
        return importance_weighted_bound(log_weights) + math.prod(self.shape) * self.likelihood.level_log_prob

    @property
    def codec_player(self) -> str:
        """The only one."""
        return "vae"

    @property
    def latent_field(self) -> Field:
        """The means of (2)."""
        return Field((self.latent,), REAL)

    def to_latents(
        self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The means of (2), ``[B, latent]``."""
        return self.encode(params, buffers, x, label=self._one_hot(label))[0]

    def from_latents(
        self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The mean images of latents."""
        return self.decode(params, buffers, z, label=self._one_hot(label))

    def _raw(self, params: Params, buffers: Buffers, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.decoder.apply(params["vae"]["decoder"], buffers["vae"]["decoder"], z, label)[0]

    def _one_hot(self, label: jax.Array | None) -> jax.Array | None:
        return jax.nn.one_hot(label, self.classes) if self.classes and label is not None else None


@plain
class VAEConfig:
    """A convolutional VAE."""

    latent: Count = 32
    """Latent dimensions."""
    widths: tuple[Count, ...] = (32, 64)
    """Channels of the stride-2 convolutions, from the image inwards; each halves the side."""
    dense: tuple[Count, ...] = (256,)
    """Widths of the dense layers between the convolutions and the latents."""
    likelihood: Literal["gaussian", "logistic", "bernoulli"] = "gaussian"
    """p(x|z): Gaussian with one learned variance, discretised logistic, or Bernoulli on binarised pixels."""
    beta: Amount = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    importance_samples: Count = 16
    """Draws per image of the reported bound."""
    conditional: bool = False
    """Condition on the label, where the data has labels."""

    def build(self, fields: Fields) -> VAE:
        """The game for images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        likelihood = likelihood_of(self.likelihood, fields["image"])
        options = {"widths": self.widths, "dense": self.dense, "classes": classes}
        encode = partial(network, ConvEncoder, channels=shape[-1], outputs=2 * self.latent, **options)
        decode = partial(network, ConvDecoder, outputs=likelihood.outputs * shape[-1], latent=self.latent, **options)
        encoder, decoder = (padded(make, shape[:2], 1 << len(self.widths)) for make in (encode, decode))
        return VAE(shape, classes, encoder, decoder, likelihood, self.latent, self.beta, self.importance_samples)


@plain
class DenseVAEConfig:
    """A VAE of multilayer perceptrons; with no hidden layers and a Gaussian likelihood, a linear-Gaussian model."""

    latent: Count = 50
    """Latent dimensions."""
    hidden: tuple[Count, ...] = (200, 200)
    """Widths of the hidden layers of tanh, in encoder and decoder."""
    likelihood: Literal["gaussian", "logistic", "bernoulli"] = "bernoulli"
    """p(x|z): Gaussian with one learned variance, discretised logistic, or Bernoulli on binarised pixels."""
    beta: Amount = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    importance_samples: Count = 50
    """Draws per image of the reported bound."""
    conditional: bool = False
    """Condition on the label, where the data has labels."""

    def build(self, fields: Fields) -> VAE:
        """The game for images, or for an array of real numbers under a Gaussian likelihood.

        Raises:
          ValueError: if the likelihood is not of such data, or labels are asked for and missing.
        """
        name, field = made_of(fields)
        shape, classes = field.shape, known_classes(fields, conditional=self.conditional)
        likelihood = likelihood_of(self.likelihood, field)
        options = {"hidden": self.hidden, "classes": classes}
        encoder = network(DenseEncoder, shape=shape, outputs=2 * self.latent, **options)
        decoder = network(
            DenseDecoder, shape=shape, outputs=likelihood.outputs * shape[-1], latent=self.latent, **options
        )
        numbers = self.latent, self.beta, self.importance_samples
        return VAE(shape, classes, encoder, decoder, likelihood, *numbers, makes=name)


REFERENCE = VAEConfig(latent=10, widths=(32, 32, 32, 32), dense=(256, 256), likelihood="bernoulli")
"""Architecture B of Burgess et al. 2018 for 64x64 images: 502,005 parameters with one channel."""
DENSE_REFERENCE = DenseVAEConfig()
"""The one-stochastic-layer network of Burda et al. 2016: 425,284 parameters at 28x28."""
SMALL = VAEConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU."""
