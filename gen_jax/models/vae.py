"""The variational autoencoder: beta, capacity, labels, calibrated variance.

Kingma and Welling 2014, "Auto-Encoding Variational Bayes" (arXiv:1312.6114); beta-VAE: Higgins et al. 2017; its
capacity: Burgess et al. 2018 (arXiv:1804.03599); labels and their prior: Sohn, Lee and Yan 2015, "Learning Structured
Output Representation using Deep Conditional Generative Models"; the importance-weighted bound: Burda et al. 2016
(arXiv:1509.00519); one calibrated variance, sigma-VAE: Rybkin et al. 2021 (arXiv:2006.13202).

(1) p(x, z) = p(z) p(x | z), p(z) = N(0, I)     decoder; everything may also be given a label y
(2) q(z | x) = N(z; m(x), diag s(x)^2)          encoder
(3) L(x) = E_q log p(x|z) - beta KL(q || p)     the loss is -L, summed over pixels and latents
(4) L_k(x) = E log (1/k) sum_i p(x, z_i) / q(z_i | x) >= L(x), for beta = 1
(5) s^2 = mean (x - m(z))^2                     the variance of a Gaussian p(x | z) that maximises (3)
(6) E_q log p(x|z) - beta |KL - C|              in place of (3); KL of the batch, C from 0 to the capacity in a line
(7) p(z | y) = N(z; n_y, diag t_y^2)            in place of N(0, I), learned; it begins there

By the envelope theorem the gradient of (3) at the optimal variance (5) is the same whether or not one differentiates
through it, so training takes (5) of every batch; its running average in the buffers is the model's variance. A free
variance is a parameter instead, one number that goes where (5) is, at the speed of the learning rate.

A sample is by default the decoder's mean of a latent from the prior, as in the publications' pictures: it leaves out
the noise of p(x | z), which no network has seen a reason to make look like an image. ``samples="draws"`` is from (1) as
it stands, what the likelihood is of, and what a prior of a codec's latents has to be.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import REAL, Field, Fields, known_classes, made_of, of_images
from gen_jax.losses.elbo import elbo, importance_weighted_bound, off_capacity
from gen_jax.models.likelihoods import Law, Likelihood, likelihood_of
from gen_jax.networks.vae import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder, class_moments
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

VARIANCE_DECAY = 0.99  # a step, of the running average of (5)
WIDEST = 20.0  # log-variance of (2): of an image like none before, a network may say more than floats hold
Prior = Literal["standard", "by class"]
Variance = Literal["optimal", "free"]
Samples = Literal["means", "draws"]


@dataclass(frozen=True)
class Capacity:
    """C of (6): ``nats`` from step ``steps`` on, 0 at the first."""

    nats: float
    steps: int

    def at(self, step: jax.Array) -> jax.Array:
        """C, nats."""
        return self.nats * jnp.minimum(step / self.steps, 1.0)


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
    capacity: Capacity | None = None
    prior: Network | None = None  # one-hot label [B, K] -> mean and log-variance of (7), [B, 2 latent]
    free_variance: bool = False
    draws: bool = False  # whether samples are from p(x | z), or its means

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend the negative bound (3), or (6)."""
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
        """Both networks; log-variance 0; the prior (7) where it is learned."""
        keys = jax.random.split(key)
        encoder, encoder_buffers = self.encoder.init(keys[0])
        decoder, decoder_buffers = self.decoder.init(keys[1])
        params = {"encoder": encoder, "decoder": decoder}
        carried = {"encoder": encoder_buffers, "decoder": decoder_buffers, "log_variance": jnp.zeros(())}
        if self.free_variance:
            params["log_variance"] = carried.pop("log_variance")
        if self.prior is not None:
            params["prior"], carried["prior"] = self.prior.init(jax.random.fold_in(key, 1))
        return {"vae": params}, {"vae": carried}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(3) or (6), in nats per example."""
        target_key, latent_key = jax.random.split(key)
        label = self._one_hot(batch.get("label"))
        x = self.likelihood.target(target_key, batch[self.makes])
        mean, log_variance = self.encode(params, buffers, batch[self.makes], label=label)
        z = distributions.normal_sample(latent_key, mean, log_variance)
        raw = self._raw(params, buffers, z, label)
        best = self.likelihood.log_variance(x, raw)  # (5)
        pixel_log_variance = params["vae"]["log_variance"] if self.free_variance else best
        log_likelihood = self.likelihood.log_prob(x, raw, pixel_log_variance)
        prior = self._prior(params, buffers, label, len(z))
        kl = distributions.normal_kl(mean, log_variance, *prior).sum(axis=-1)
        figures = {"log_likelihood": log_likelihood.mean(), "kl": kl.mean()}
        carried = dict(buffers["vae"])
        if not self.free_variance:
            average = VARIANCE_DECAY * carried["log_variance"] + (1 - VARIANCE_DECAY) * best
            carried["log_variance"] = average
        if self.capacity is None:
            bound = elbo(log_likelihood, kl, beta=self.beta).mean()
        else:
            bound = off_capacity(log_likelihood, kl, beta=self.beta, capacity=self.capacity.at(step))
        return -bound, Aux(figures, {"vae": carried})

    def encode(
        self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of (2), each ``[B, latent]``; ``label`` is one-hot ``[B, K]``."""
        output, _ = self.encoder.apply(params["vae"]["encoder"], buffers["vae"]["encoder"], x, label)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        return mean, jnp.minimum(log_variance, WIDEST)

    def decode(self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The mean image of p(x | z), ``[B, H, W, C]`` in [-1, 1]; ``label`` is one-hot ``[B, K]``."""
        return self.likelihood.mean(self._raw(params, buffers, z, label))

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Latents from the prior (1), decoded to their means or drawn from p(x | z)."""
        latent_key, draw_key = jax.random.split(key)
        told = self._one_hot(label)
        mean, log_variance = self._prior(params, buffers, told, n)
        z = distributions.normal_sample(latent_key, mean, log_variance)
        raw = self._raw(params, buffers, z, told)
        if not self.draws:
            return self.likelihood.mean(raw)
        return self.likelihood.draw(draw_key, raw, self._log_variance(params, buffers))

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (4) with ``importance_samples`` draws (its one-sample form is the ELBO), nats ``[B]``."""
        target_key, latent_key = jax.random.split(key)
        label = self._one_hot(batch.get("label"))
        x = self.likelihood.target(target_key, batch[self.makes])
        mean, log_variance = self.encode(params, buffers, batch[self.makes], label=label)
        prior = self._prior(params, buffers, label, len(x))

        def log_weight(key: jax.Array) -> jax.Array:
            z = distributions.normal_sample(key, mean, log_variance)
            log_prior = distributions.normal_log_prob(z, *prior)
            log_posterior = distributions.normal_log_prob(z, mean, log_variance)
            raw = self._raw(params, buffers, z, label)
            log_likelihood = self.likelihood.log_prob(x, raw, self._log_variance(params, buffers))
            return log_likelihood + (log_prior - log_posterior).sum(axis=-1)

        log_weights = jax.lax.map(log_weight, jax.random.split(latent_key, self.importance_samples))
        return importance_weighted_bound(log_weights) + math.prod(self.shape) * self.likelihood.level_log_prob

    @property
    def codec_player(self) -> str:
        """The only one."""
        return "vae"

    @property
    def latent_field(self) -> Field:
        """The latents of (2)."""
        return Field((self.latent,), REAL)

    def to_latents(
        self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The means of (2), ``[B, latent]``."""
        return self.encode(params, buffers, x, label=self._one_hot(label))[0]

    def draw_latents(self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array) -> jax.Array:
        """Draws from (2), ``[B, latent]``."""
        return distributions.normal_sample(key, *self.encode(params, buffers, x))

    def from_latents(
        self, params: Params, buffers: Buffers, z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The mean images of latents."""
        return self.decode(params, buffers, z, label=self._one_hot(label))

    def _raw(self, params: Params, buffers: Buffers, z: jax.Array, label: jax.Array | None) -> jax.Array:
        return self.decoder.apply(params["vae"]["decoder"], buffers["vae"]["decoder"], z, label)[0]

    def _prior(self, params: Params, buffers: Buffers, label: jax.Array | None, n: int) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the prior, each ``[n, latent]``."""
        if self.prior is None:
            return (jnp.zeros((n, self.latent)),) * 2
        mean, log_variance = jnp.split(
            self.prior.apply(params["vae"]["prior"], buffers["vae"]["prior"], label)[0], 2, axis=-1
        )
        return mean, log_variance

    def _log_variance(self, params: Params, buffers: Buffers) -> jax.Array:
        return (params if self.free_variance else buffers)["vae"]["log_variance"]

    def _one_hot(self, label: jax.Array | None) -> jax.Array | None:
        return jax.nn.one_hot(label, self.classes) if self.classes and label is not None else None


@plain
class VAEConfig:
    """A VAE of images: convolutions, or perceptrons."""

    latent: Count = 32
    """Latent dimensions."""
    widths: tuple[Count, ...] = (32, 64)
    """Channels of the stride-2 convolutions, from the image inwards; each halves the side; none: perceptrons."""
    dense: tuple[Count, ...] = (256,)
    """Widths of the dense layers between the convolutions, or the image, and the latents."""
    likelihood: Law = "gaussian"
    """p(x|z): Gaussian with one variance for all pixels, discretised logistic or a mixture of them, or Bernoulli on
    binarised pixels."""
    beta: Amount = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    importance_samples: Count = 16
    """Draws per image of the reported bound."""
    conditional: bool = False
    """Condition on the label, where the data has labels."""
    capacity: Amount = 0.0
    """Nats that the KL term is held to, from above and below; 0: it is made as small as beta asks."""
    capacity_steps: Count = 100_000
    """Steps over which these rise from 0."""
    prior: Prior = "standard"
    """Of the latents: N(0, I), or, of a conditional one, a Gaussian of every class that is learned."""
    variance: Variance = "optimal"
    """Of a Gaussian p(x|z): the best one of every batch, or a parameter."""
    samples: Samples = "means"
    """What a sample is: the decoder's mean, or a draw from p(x|z)."""

    def __post_init__(self) -> None:
        _check(self)

    def build(self, fields: Fields) -> VAE:
        """The game for images of any size.

        Raises:
          ValueError: if labels are asked for and missing.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        likelihood = likelihood_of(self.likelihood, fields["image"])
        raw, moments = likelihood.outputs * shape[-1], 2 * self.latent
        if not self.widths:
            options: dict[str, Any] = {"shape": shape, "classes": classes}
            encoder = network(DenseEncoder, outputs=moments, hidden=self.dense, **options)
            decoder = network(DenseDecoder, outputs=raw, latent=self.latent, hidden=self.dense[::-1], **options)
            return _game(self, shape, classes, encoder, decoder, likelihood)
        options = {"widths": self.widths, "dense": self.dense, "classes": classes}
        encode = partial(network, ConvEncoder, channels=shape[-1], outputs=moments, **options)
        decode = partial(network, ConvDecoder, outputs=raw, latent=self.latent, **options)
        encoder, decoder = (padded(make, shape[:2], 1 << len(self.widths)) for make in (encode, decode))
        return _game(self, shape, classes, encoder, decoder, likelihood)


@plain
class DenseVAEConfig:
    """A VAE of multilayer perceptrons; with no hidden layers and a Gaussian likelihood, a linear-Gaussian model."""

    latent: Count = 50
    """Latent dimensions."""
    hidden: tuple[Count, ...] = (200, 200)
    """Widths of the hidden layers of tanh, in encoder and decoder."""
    likelihood: Law = "bernoulli"
    """p(x|z): Gaussian with one variance for all numbers, discretised logistic or a mixture of them, or Bernoulli on
    binarised pixels."""
    beta: Amount = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    importance_samples: Count = 50
    """Draws per image of the reported bound."""
    conditional: bool = False
    """Condition on the label, where the data has labels."""
    capacity: Amount = 0.0
    """Nats that the KL term is held to, from above and below; 0: it is made as small as beta asks."""
    capacity_steps: Count = 100_000
    """Steps over which these rise from 0."""
    prior: Prior = "standard"
    """Of the latents: N(0, I), or, of a conditional one, a Gaussian of every class that is learned."""
    variance: Variance = "optimal"
    """Of a Gaussian p(x|z): the best one of every batch, or a parameter."""
    samples: Samples = "means"
    """What a sample is: the decoder's mean, or a draw from p(x|z)."""

    def __post_init__(self) -> None:
        _check(self)

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
        return _game(self, shape, classes, encoder, decoder, likelihood, makes=name)


def _check(configuration: VAEConfig | DenseVAEConfig) -> None:
    if configuration.prior == "by class" and not configuration.conditional:
        raise ValueError("prior: 'by class' is of conditional=True; set that too, or take 'standard'")
    if configuration.variance == "free" and configuration.likelihood != "gaussian":
        raise ValueError(f"variance: 'free' is of likelihood='gaussian', got {configuration.likelihood!r}")


def _game(
    configuration: VAEConfig | DenseVAEConfig,
    shape: tuple[int, ...],
    classes: int,
    encoder: Network,
    decoder: Network,
    likelihood: Likelihood,
    *,
    makes: str = "image",
) -> VAE:
    c = configuration
    learned = c.prior == "by class"
    return VAE(
        shape,
        classes,
        encoder,
        decoder,
        likelihood,
        c.latent,
        c.beta,
        c.importance_samples,
        makes=makes,
        capacity=Capacity(c.capacity, c.capacity_steps) if c.capacity else None,
        prior=network(class_moments, classes=classes, latent=c.latent) if learned else None,
        free_variance=c.variance == "free",
        draws=c.samples == "draws",
    )


REFERENCE = VAEConfig(latent=10, widths=(32, 32, 32, 32), dense=(256, 256), likelihood="bernoulli")
"""Architecture B of Burgess et al. 2018 for 64x64 images: 502,005 parameters with one channel."""
DENSE_REFERENCE = DenseVAEConfig()
"""The one-stochastic-layer network of Burda et al. 2016: 425,284 parameters at 28x28."""
SMALL = VAEConfig(latent=32, widths=(), dense=(512, 512), likelihood="logistic", beta=4.0)
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU, where perceptrons see five times as many images as convolutions."""
CODEC = VAEConfig(latent=32, widths=(), dense=(512, 512), beta=2.0)
"""For a prior that is learned: four times the nats of SMALL, and better reconstructions."""
