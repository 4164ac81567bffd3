"""A deep hierarchy of latents, in the manner of NVAE.

Vahdat and Kautz 2020, "NVAE: A Deep Hierarchical Variational Autoencoder" (arXiv:2007.03898); the network is that of
:mod:`gen_jax.networks.nvae`, which says where it differs.

(1) p(x, z) = p(z_1) prod_l p(z_l | z_<l) p(x | z),  q(z | x) = prod_l q(z_l | z_<l, x)      groups l from the top down
(2) q(z_l | z_<l, x) = N(m + dm, (s ds)^2)  where  p(z_l | z_<l) = N(m, s^2)                 residual normals
(3) loss = -E log p(x | z) + b sum_l g_l KL_l + lambda sum_W sigma(W)                        nats per example
(4) b = 1e-4 to 1 in a line over the first kl_warmup
(5) g_l in proportion to (KL_l + 0.01) / a_l, of mean 1 and not differentiated, while b < 1; 1 afterwards
(6) log p(x) >= E log (1/k) sum_i p(x | z_i) p(z_i) / q(z_i | x)                             what is reported

KL_l is the mean over the batch, a_l in proportion to the places of the group's scale over its groups: a large group
that says little is spared, one that says nothing yet is not. sigma(W) is the largest singular value of a kernel, by one
step of the power method a training step, from vectors in the buffers that begin at random: at first it is too small.
Samples take deviations ``temperature`` s in (1).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Count, Number, Positive, plain
from gen_jax.fields import Fields, of_images
from gen_jax.losses.elbo import importance_weighted_bound
from gen_jax.models.likelihoods import Likelihood, likelihood_of
from gen_jax.networks.nvae import Hierarchy, Passed
from gen_jax.nn import spectral
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

LEAST = 1e-4  # of b


@dataclass(frozen=True)
class NVAE:
    """A game of one player, ``hierarchy``."""

    shape: tuple[int, int, int]
    net: Network  # of a Hierarchy
    shares: tuple[float, ...]  # a_l of (5)
    likelihood: Likelihood
    kl_warmup: int
    smoothness: float  # lambda
    temperature: float
    draws: bool
    importance_samples: int

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()
    network_evaluations: ClassVar[int] = 1

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (3)."""
        return (Turn("hierarchy", self.loss),)

    @property
    def log_prob_kind(self) -> str:
        """A lower bound; on binarised pixels where the likelihood is Bernoulli."""
        return self.likelihood.log_prob_kind

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network, and a vector for every kernel."""
        keys = jax.random.split(key)
        params, carried = self.net.init(keys[0])
        vectors = spectral.singular_vectors(keys[1], params)
        return {"hierarchy": params}, {"hierarchy": {"network": carried, "vectors": vectors}}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(3)."""
        target_key, latent_key = jax.random.split(key)
        x = batch["image"]
        passed = self._passed(params, buffers, latent_key, x)
        log_likelihood = self.likelihood.log_prob(self.likelihood.target(target_key, x), passed.raw, jnp.zeros(()))
        kl = passed.kl.mean(axis=-1)
        b = jnp.clip(step / self.kl_warmup, LEAST, 1.0) if self.kl_warmup else jnp.ones(())
        balanced = jnp.where(b < 1, balance(jax.lax.stop_gradient(kl), self.shares), 1.0)
        sigma, vectors = spectral.largest_singular_values(params["hierarchy"], buffers["hierarchy"]["vectors"])
        loss = -log_likelihood.mean() + b * (balanced * kl).sum() + self.smoothness * sigma
        figures = {"log_likelihood": log_likelihood.mean(), "kl": kl.sum(), "singular_values": sigma}
        return loss, Aux(figures, {"hierarchy": {**buffers["hierarchy"], "vectors": vectors}})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """Latents from (1), and the mean of p(x | z) or a draw from it."""
        latent_key, draw_key = jax.random.split(key)
        own, carried = params["hierarchy"], buffers["hierarchy"]["network"]
        temperature = jnp.full(n, self.temperature)
        raw, _ = self.net.apply(own, carried, temperature, key=latent_key, method=Hierarchy.generate)
        return self.likelihood.draw(draw_key, raw, jnp.zeros(())) if self.draws else self.likelihood.mean(raw)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (6) with ``importance_samples`` draws, nats ``[B]``."""
        target_key, latent_key = jax.random.split(key)
        x = batch["image"]
        target = self.likelihood.target(target_key, x)

        def log_weight(key: jax.Array) -> jax.Array:
            passed = self._passed(params, buffers, key, x)
            return self.likelihood.log_prob(target, passed.raw, jnp.zeros(())) - passed.log_ratio.sum(axis=0)

        log_weights = jax.lax.map(log_weight, jax.random.split(latent_key, self.importance_samples))
        return importance_weighted_bound(log_weights) + math.prod(self.shape) * self.likelihood.level_log_prob

    def _passed(self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array) -> Passed:
        return self.net.apply(params["hierarchy"], buffers["hierarchy"]["network"], x, key=key)[0]


def balance(kl: jax.Array, shares: tuple[float, ...]) -> jax.Array:
    """G of (5), of mean 1, from the groups' KL ``[L]`` in nats and their a."""
    wanted = (kl + 0.01) / jnp.asarray(shares)
    return wanted / wanted.mean()


@plain
class NVAEConfig:
    """A hierarchy of groups of latents for images."""

    widths: tuple[Count, ...] = (64, 32)
    """Channels of the scales, from the top; each has twice the sides of the one before."""
    groups: tuple[Count, ...] = (2, 2)
    """Groups of latents at every scale."""
    latent: Count = 8
    """Numbers of a group at every place."""
    patch: Count = 4
    """Side of the blocks of pixels that are one place at the lowest scale."""
    likelihood: Literal["mixture", "logistic", "bernoulli"] = "logistic"
    """p(x|z): a mixture of discretised logistics, one, or Bernoulli on binarised pixels."""
    kl_warmup: Number = 300
    """Steps over which the weight of the KL terms rises from 1e-4 to 1, and in which they are balanced."""
    smoothness: Amount = 1e-2
    """Weight of the sum of the kernels' largest singular values."""
    temperature: Positive = 1.0
    """Of samples: times the deviations of all priors."""
    samples: Literal["means", "draws"] = "means"
    """What a sample is: the mean of p(x|z), or a draw from it."""
    importance_samples: Count = 8
    """Draws per image of the reported bound."""

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.groups):
            raise ValueError(f"groups: expected a number for each of widths {self.widths}, got {self.groups}")

    def build(self, fields: Fields) -> NVAE:
        """The game for images of any size; labels are not used."""
        shape, _ = of_images(fields)
        likelihood = likelihood_of(self.likelihood, fields["image"])
        make = partial(
            network,
            Hierarchy,
            channels=shape[-1],
            outputs=likelihood.outputs * shape[-1],
            widths=self.widths,
            groups=self.groups,
            latent=self.latent,
            patch=self.patch,
        )
        shares = tuple(4.0**scale / count for scale, count in enumerate(self.groups) for _ in range(count))
        return NVAE(
            shape,
            padded(make, shape[:2], self.patch << (len(self.widths) - 1)),
            shares,
            likelihood,
            self.kl_warmup,
            self.smoothness,
            self.temperature,
            self.samples == "draws",
            self.importance_samples,
        )


REFERENCE = NVAEConfig(widths=(64, 32), groups=(10, 10), latent=20, patch=1, likelihood="bernoulli", kl_warmup=36_000)
"""Scales, groups and latents of the authors' command for binarised MNIST; 30 % of its steps warm up."""
SMALL = NVAEConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU: two scales of patches, 4x4 and 8x8 places of the latter."""
