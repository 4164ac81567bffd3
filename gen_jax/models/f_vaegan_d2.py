"""f-VAEGAN-D2: features of classes that were never seen, from what is known of the classes.

Xian, Sharma, Schiele and Akata 2019, "f-VAEGAN-D2: a feature generating framework for any-shot learning"
(arXiv:1903.10132). Features x in [0, 1] of a class with attributes c; s is the sigmoid, G gives logits:

(1) vae            minimises  bound (E_q(z|x,c) BCE(x, s(G(z, c))) + KL(q(z|x, c) || N(0, I)))
                              - weight E D1(s(G(z', c)), c) - weight E D2(s(G(z', u))),      z' ~ N(0, I)
(2) critic         minimises  E D1(s(G(z', c)), c) - E D1(x, c) + penalty of its gradient
(3) unseen_critic  minimises  E D2(s(G(z', u))) - E D2(x_u) + penalty of its gradient

Cross entropies are summed over features; the paper's ``bound`` is 1, and 0 leaves a Wasserstein GAN. Encoder and
decoder are one player, as in a VAE: what is adversarial in (1) does not reach the encoder. (3), and its term in (1),
are there where the data have features ``unseen [F]`` of classes that have no labelled examples, beside
``unseen_attribute [A]``, the attributes of those classes in any order (x_u above, and u): the transductive setting. The
critics see single examples, so that a penalty on the gradient at one
(:func:`gen_jax.losses.adversarial.gradient_penalty`) is one on its own; its weight stays what it is, where the authors'
code, not the paper, adapts it.

A classifier of unseen classes is fitted to samples told their attributes: :mod:`gen_jax.evaluate.zero_shot`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Amount, Count, plain
from gen_jax.fields import REAL, Field, Fields, describe
from gen_jax.losses.adversarial import gradient_penalty, wasserstein
from gen_jax.nn.functional import network
from gen_jax.nn.mlp import MLP
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

FEATURE, ATTRIBUTE = "feature", "attribute"
UNSEEN, UNSEEN_ATTRIBUTE = "unseen", "unseen_attribute"


@dataclass(frozen=True)
class FeatureVAEGAN:
    """The game of (1) to (3).

    Attributes:
      shape: ``(F,)``, of a feature.
      latent: width of z.
      encoder: ``[B, F + A] -> [B, 2 latent]``, mean and log-variance.
      decoder: ``[B, latent + A] -> [B, F]``, logits.
      critic: ``[B, F + A] -> [B, 1]``.
      unseen_critic: ``[B, F] -> [B, 1]``, in the transductive setting.
      bound: weight of the bound in (1).
      weight: of the adversarial terms in (1).
      penalty: of the critics' gradients.
      vae_every: steps of the critics from one turn of (1) to the next.
    """

    shape: tuple[int, ...]
    latent: int
    encoder: Network
    decoder: Network
    critic: Network
    unseen_critic: Network | None
    bound: float
    weight: float
    penalty: float
    vae_every: int
    makes: str = FEATURE
    given: tuple[str, ...] = (ATTRIBUTE,)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The critics, then (1)."""
        critics = [Turn("critic", self.critic_loss)]
        critics += [Turn("unseen_critic", self.unseen_critic_loss)] if self.unseen_critic else []
        return (*critics, Turn("vae", self.vae_loss, every=self.vae_every))

    @property
    def network_evaluations(self) -> int:
        """One pass of the decoder."""
        return 1

    @property
    def latent_field(self) -> Field:
        """Of z."""
        return Field((self.latent,), REAL)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and buffers of all players."""
        keys = jax.random.split(key, 4)
        pairs = {"encoder": self.encoder.init(keys[0]), "decoder": self.decoder.init(keys[1])}
        params: Params = {"vae": {name: pair[0] for name, pair in pairs.items()}}
        buffers: Buffers = {"vae": {name: pair[1] for name, pair in pairs.items()}}
        params["critic"], buffers["critic"] = self.critic.init(keys[2])
        if self.unseen_critic:
            params["unseen_critic"], buffers["unseen_critic"] = self.unseen_critic.init(keys[3])
        return params, buffers

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2)."""
        fake = self._generated(params, buffers, batch[ATTRIBUTE], jax.random.fold_in(key, 0))
        return self._judged(self._critic(params, buffers, batch[ATTRIBUTE]), batch[FEATURE], fake, key)

    def unseen_critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3)."""
        fake = self._generated(params, buffers, batch[UNSEEN_ATTRIBUTE], jax.random.fold_in(key, 0))
        return self._judged(self._unseen_critic(params, buffers), batch[UNSEEN], fake, key)

    def vae_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1), in nats per example, but for the critics' scale."""
        keys = jax.random.split(key, 3)
        x, c = batch[FEATURE], batch[ATTRIBUTE]
        mean, log_variance = self.encode(params, buffers, x, attribute=c)
        z = distributions.normal_sample(keys[0], mean, log_variance)
        logits = self._logits(params, buffers, z, c)
        entropy = (jax.nn.softplus(logits) - x * logits).sum(axis=1).mean()
        kl = distributions.standard_normal_kl(mean, log_variance).sum(axis=-1).mean()
        fake = self._generated(params, buffers, c, keys[1])
        adversarial = wasserstein.generator(self._critic(params, buffers, c)(fake))
        if self.unseen_critic:
            fake = self._generated(params, buffers, batch[UNSEEN_ATTRIBUTE], keys[2])
            adversarial += wasserstein.generator(self._unseen_critic(params, buffers)(fake))
        metrics = {"cross_entropy": entropy, "kl": kl, "adversarial": adversarial}
        return self.bound * (entropy + kl) + self.weight * adversarial, Aux(metrics)

    def encode(
        self, params: Params, buffers: Buffers, x: jax.Array, *, attribute: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of q(z|x, c), each ``[B, latent]``."""
        inputs = jnp.concatenate([x, attribute], axis=-1)
        output, _ = self.encoder.apply(params["vae"]["encoder"], buffers["vae"]["encoder"], inputs)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        return mean, log_variance

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array, *, attribute: jax.Array) -> jax.Array:
        """The means of :meth:`encode`."""
        return self.encode(params, buffers, x, attribute=attribute)[0]

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array, *, attribute: jax.Array) -> jax.Array:
        """Features ``[B, F]`` in [0, 1] of ``z [B, latent]``."""
        return jax.nn.sigmoid(self._logits(params, buffers, z, attribute))

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, attribute: jax.Array) -> jax.Array:
        """``n`` features ``[n, F]`` in [0, 1], of classes with ``attribute [n, A]``."""
        return self._generated(params, buffers, attribute, key)

    def _generated(self, params: Params, buffers: Buffers, attribute: jax.Array, key: jax.Array) -> jax.Array:
        z = jax.random.normal(key, (len(attribute), self.latent))
        return self.from_latents(params, buffers, z, attribute=attribute)

    def _logits(self, params: Params, buffers: Buffers, z: jax.Array, attribute: jax.Array) -> jax.Array:
        inputs = jnp.concatenate([z, attribute], axis=-1)
        return self.decoder.apply(params["vae"]["decoder"], buffers["vae"]["decoder"], inputs)[0]

    def _critic(self, params: Params, buffers: Buffers, attribute: jax.Array) -> Any:
        apply = partial(self.critic.apply, params["critic"], buffers["critic"])
        return lambda x: apply(jnp.concatenate([x, attribute], axis=-1))[0][:, 0]

    def _unseen_critic(self, params: Params, buffers: Buffers) -> Any:
        assert self.unseen_critic is not None
        apply = partial(self.unseen_critic.apply, params["unseen_critic"], buffers["unseen_critic"])
        return lambda x: apply(x)[0][:, 0]

    def _judged(self, critic: Any, real: jax.Array, fake: jax.Array, key: jax.Array) -> tuple[jax.Array, Aux]:
        real_logits, fake_logits = critic(real), critic(fake)
        penalty = gradient_penalty(critic, real, fake, jax.random.fold_in(key, 1), weight=self.penalty)
        metrics = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean(), "penalty": penalty}
        return wasserstein.critic(real_logits, fake_logits) + penalty, Aux(metrics)


@plain
class FVAEGAND2Config:
    """An f-VAEGAN-D2 of perceptrons, of data with ``feature [F]`` in [0, 1] and ``attribute [A]``."""

    latent: Count = 312
    """Width of z; the paper's is that of the attributes."""
    hidden: Count = 4096
    """Width of every network's hidden layer; the encoder has a second, of twice the latent's width."""
    bound: Amount = 1.0
    """Weight of the bound of the VAE in what encoder and decoder minimise; 0 leaves a Wasserstein GAN."""
    weight: Amount = 10.0
    """Of the critics' terms in what encoder and decoder minimise; 0 leaves a conditional VAE."""
    penalty: Amount = 10.0
    """Of (||gradient|| - 1)^2 between real and generated features."""
    vae_every: Count = 5
    """Turns of the critics for each of encoder and decoder."""

    def build(self, fields: Fields) -> FeatureVAEGAN:
        """The game; transductive, where the data have ``unseen`` and ``unseen_attribute``.

        Raises:
          ValueError: of other data.
        """
        seen, unseen = (FEATURE, ATTRIBUTE), (UNSEEN, UNSEEN_ATTRIBUTE)
        found = {name: field for name, field in fields.items() if field.kind is REAL and len(field.shape) == 1}
        both = all(name in found for name in unseen)
        if not all(name in found for name in seen) or any(name in fields for name in unseen) != both:
            raise ValueError(
                "expected real vectors 'feature' and 'attribute', and for the transductive setting 'unseen' and"
                f" 'unseen_attribute' beside them, got {describe(fields)}"
            )
        if both and [found[name].shape for name in seen] != [found[name].shape for name in unseen]:
            raise ValueError(f"expected what is unseen to be as wide as what is seen, got {describe(fields)}")
        (features,), (attributes,) = (found[name].shape for name in seen)
        perceptron = partial(network, MLP, activation=partial(jax.nn.leaky_relu, negative_slope=0.2), kernel_init=_INIT)
        judge = partial(perceptron, hidden=(self.hidden,), outputs=1)
        return FeatureVAEGAN(
            (features,),
            self.latent,
            perceptron(inputs=features + attributes, hidden=(self.hidden, 2 * self.latent), outputs=2 * self.latent),
            perceptron(inputs=self.latent + attributes, hidden=(self.hidden,), outputs=features),
            judge(inputs=features + attributes),
            judge(inputs=features) if both else None,
            self.bound,
            self.weight,
            self.penalty,
            self.vae_every,
        )


_INIT = jax.nn.initializers.normal(0.02)
REFERENCE = FVAEGAND2Config()
"""Birds of 312 attributes by 2,048 features: encoder 12,617,184, decoder 10,950,656, critic 9,674,753 parameters."""

SMALL = FVAEGAND2Config(latent=32, hidden=256)
"""A hundred features in minutes on two CPU cores."""
