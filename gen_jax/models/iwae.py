"""The importance-weighted autoencoder, with one layer of latents or several.

Burda, Grosse and Salakhutdinov 2016, "Importance Weighted Autoencoders" (arXiv:1509.00519).

(1) p(x, z) = p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2) p(x | z_1)        p(z_L) = N(0, I), the others normal, diagonal
(2) q(z | x) = q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_{L-1})              all normal, diagonal
(3) w = p(x, z) / q(z | x),  L_k = E log (1/k) sum_i w_i                  the loss is -L_k, nats per example
(4) L_1 <= L_2 <= ... <= log p(x),  L_1 the bound of a VAE

The gradient of (3) is that of log w_i, weighted by w_i / sum_j w_j. A Gaussian p(x | z_1) has a variance that is a
parameter: the best one of a batch is that of (3) for k = 1 alone.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Count, plain
from gen_jax.fields import REAL, Field, Fields, made_of
from gen_jax.losses.elbo import importance_weighted_bound
from gen_jax.models.likelihoods import Law, Likelihood, likelihood_of
from gen_jax.networks.vae import DenseDecoder, DenseEncoder
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

Moments = tuple[jax.Array, jax.Array]  # mean and log-variance


@dataclass(frozen=True)
class IWAE:
    """A game of one player, ``iwae``: encoders and decoders, from the data upwards."""

    shape: tuple[int, ...]
    makes: str
    encoders: tuple[Network, ...]  # x, z_1, ... -> moments of z_1, z_2, ..., [B, 2 latents]
    decoders: tuple[Network, ...]  # z_1 -> raw likelihood parameters; z_2, ... -> moments of z_1, ...
    likelihood: Likelihood
    latents: tuple[int, ...]
    training_samples: int
    importance_samples: int

    given: ClassVar[tuple[str, ...]] = ()
    codec_player: ClassVar[str] = "iwae"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend the negative bound (3)."""
        return (Turn("iwae", self.loss),)

    @property
    def network_evaluations(self) -> int:
        """One pass of the decoders."""
        return 1

    @property
    def log_prob_kind(self) -> str:
        """A lower bound; on binarised pixels where the likelihood is Bernoulli."""
        return self.likelihood.log_prob_kind

    @property
    def latent_field(self) -> Field:
        """The latents z_1."""
        return Field((self.latents[0],), REAL)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """All networks; log-variance 0."""
        params: dict = {"log_variance": jnp.zeros(())} if self.likelihood.has_variance else {}
        carried: dict = {}
        for side, nets in (("encoders", self.encoders), ("decoders", self.decoders)):
            key, own = jax.random.split(key)
            made = [net.init(k) for net, k in zip(nets, jax.random.split(own, len(nets)), strict=True)]
            params[side] = {str(layer): each for layer, (each, _) in enumerate(made)}
            carried[side] = {str(layer): each for layer, (_, each) in enumerate(made)}
        return {"iwae": params}, {"iwae": carried}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """Minus (3) with ``training_samples`` draws."""
        target_key, latent_key = jax.random.split(key)
        x = batch[self.makes]
        target = self.likelihood.target(target_key, x)
        keys = jax.random.split(latent_key, self.training_samples)
        log_weights = jax.vmap(lambda key: self._log_weight(params, buffers, key, x, target))(keys)
        bound = importance_weighted_bound(log_weights).mean()
        return -bound, Aux({"bound_of_one": log_weights.mean()}, buffers)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (3) with ``importance_samples`` draws, nats ``[B]``."""
        target_key, latent_key = jax.random.split(key)
        x = batch[self.makes]
        target = self.likelihood.target(target_key, x)
        keys = jax.random.split(latent_key, self.importance_samples)
        log_weights = jax.lax.map(lambda key: self._log_weight(params, buffers, key, x, target), keys)
        return importance_weighted_bound(log_weights) + math.prod(self.shape) * self.likelihood.level_log_prob

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Latents drawn from (1) from the top down, and the mean of p(x | z_1)."""
        keys = jax.random.split(key, len(self.latents))
        z = jax.random.normal(keys[-1], (n, self.latents[-1]))
        for layer in reversed(range(1, len(self.latents))):
            z = distributions.normal_sample(keys[layer - 1], *self._moments(params, buffers, "decoders", layer, z))
        return self.from_latents(params, buffers, z)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The means of q(z_1 | x), ``[B, latents[0]]``."""
        return self._moments(params, buffers, "encoders", 0, x)[0]

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The mean examples of latents z_1."""
        return self.likelihood.mean(self._apply(params, buffers, "decoders", 0, z))

    def _log_weight(
        self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array, target: jax.Array
    ) -> jax.Array:
        """Log w of (3), nats ``[B]``."""
        total, below, latents = jnp.zeros(len(x)), x, []
        for layer, own in enumerate(jax.random.split(key, len(self.latents))):
            posterior = self._moments(params, buffers, "encoders", layer, below)
            below = distributions.normal_sample(own, *posterior)
            latents.append(below)
            total -= distributions.normal_log_prob(below, *posterior).sum(axis=-1)
        top = jnp.zeros_like(below)
        total += distributions.normal_log_prob(below, top, top).sum(axis=-1)
        for layer in range(1, len(latents)):
            moments = self._moments(params, buffers, "decoders", layer, latents[layer])
            total += distributions.normal_log_prob(latents[layer - 1], *moments).sum(axis=-1)
        raw = self._apply(params, buffers, "decoders", 0, latents[0])
        variance = params["iwae"].get("log_variance", jnp.zeros(()))
        return total + self.likelihood.log_prob(target, raw, variance)

    def _moments(self, params: Params, buffers: Buffers, side: str, layer: int, x: jax.Array) -> Moments:
        mean, log_variance = jnp.split(self._apply(params, buffers, side, layer, x), 2, axis=-1)
        return mean, log_variance

    def _apply(self, params: Params, buffers: Buffers, side: str, layer: int, x: jax.Array) -> jax.Array:
        net: Network = getattr(self, side)[layer]
        return net.apply(params["iwae"][side][str(layer)], buffers["iwae"][side][str(layer)], x)[0]


@plain
class IWAEConfig:
    """An importance-weighted autoencoder of perceptrons."""

    latents: tuple[Count, ...] = (50,)
    """Latent dimensions of every layer, from the data upwards."""
    hidden: tuple[Count, ...] = (200,)
    """Widths of the two hidden layers of tanh below each of them, in encoder and decoder."""
    likelihood: Law = "bernoulli"
    """p(x|z_1): Bernoulli on binarised pixels, Gaussian with one learned variance for all numbers, discretised logistic
    or a mixture of them."""
    training_samples: Count = 5
    """Draws per example of the bound that is trained; 1 trains a VAE."""
    importance_samples: Count = 50
    """Draws per example of the reported bound."""

    def __post_init__(self) -> None:
        if not self.latents or len(self.latents) != len(self.hidden):
            raise ValueError(f"hidden: expected a width for each of latents {self.latents}, got {self.hidden}")

    def build(self, fields: Fields) -> IWAE:
        """The game for images, or for an array of real numbers under a Gaussian likelihood; labels are not used.

        Raises:
          ValueError: if the likelihood is not of such data.
        """
        name, field = made_of(fields)
        likelihood = likelihood_of(self.likelihood, field)
        below = [field.shape, *((latent,) for latent in self.latents)]
        outputs = [likelihood.outputs * field.shape[-1], *(2 * latent for latent in self.latents)]
        layers = list(zip(self.latents, self.hidden, strict=True))
        encoders = tuple(
            network(DenseEncoder, shape=shape, outputs=2 * latent, hidden=(width, width))
            for shape, (latent, width) in zip(below, layers)
        )
        decoders = tuple(
            network(DenseDecoder, shape=shape, outputs=count, latent=latent, hidden=(width, width))
            for shape, count, (latent, width) in zip(below, outputs, layers)
        )
        numbers = self.latents, self.training_samples, self.importance_samples
        return IWAE(field.shape, name, encoders, decoders, likelihood, *numbers)


REFERENCE = IWAEConfig(latents=(100, 50), hidden=(200, 100), training_samples=50, importance_samples=5000)
"""The network of two stochastic layers: 521,084 parameters at 28x28."""
ONE_LAYER = IWAEConfig(training_samples=50, importance_samples=5000)
"""That of one: 425,284 parameters."""
SMALL = IWAEConfig()
"""For 8x8 digits and 28x28 images on a CPU."""
