"""VAE-GAN: an encoder, a decoder that is a generator as well, and a critic whose features measure reconstructions.

Larsen, Kaae Sonderby, Larochelle and Winther 2016, "Autoencoding beyond pixels using a learned similarity metric"
(arXiv:1512.09300). With z of q(z | x), x' = G(z), samples G(z_p) of z_p ~ N(0, I), a critic D and its features D_l,
means over examples and sums over an example's numbers:

(1) prior     KL(q(z | x) || N(0, I))
(2) likeness  1/2 |D_l(x) - D_l(x')|^2, but for a constant -log N(D_l(x); D_l(x'), I)
(3) encoder   (1) + (2)
(4) decoder   share (2) + (1 - share) L.generator(D(x'), D(G(z_p)))
(5) critic    L.critic(D(x), D(x') and D(G(z_p)))
(6) balance   c = E -log D(x) and c' = E -log(1 - D(made)): the critic rests where c or c' is below
              equilibrium - margin, the decoder where either is above equilibrium + margin; neither where both would

No loss of one player reaches another: (2) does not teach the critic what to see, nor (5) the encoder what to hide. Who
rests has a gradient of zero, which moves nobody under an optimizer without momentum, RMSProp as in the paper. In its
code (4) is minimax, the share is 1e-6 of sums over 16,384 features, and the critic of faces is shown no reconstructions
(``judged="samples"``). There is no likelihood of images, as (2) is one of features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.nn import softplus

from gen_jax import distributions
from gen_jax.checks import Amount, Count, Share, plain
from gen_jax.fields import REAL, Field, Fields, of_images
from gen_jax.losses.adversarial import AdversarialLoss
from gen_jax.models import collapse
from gen_jax.models.critics import LOSSES
from gen_jax.networks.vae_gan import Critic, Decoder, Encoder
from gen_jax.nn.fit import padded
from gen_jax.nn.functional import network
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn


@dataclass(frozen=True)
class VAEGAN:
    """The game of (1) to (6), of players ``encoder``, ``decoder`` and ``critic``.

    Attributes:
      shape: of an image.
      encoder: ``x [B, H, W, C] -> [B, 2 latent]``, mean and log-variance.
      decoder: ``z [B, latent] -> x``.
      critic: ``x`` to logits ``[B]`` and features ``[B, F]``.
      latent: width of z.
      loss: L.
      share: of likeness in (4).
      equilibrium: of (6).
      margin: of (6); 0 for no balance.
      judged: what the critic is shown beside images: samples, or reconstructions as well.
    """

    shape: tuple[int, int, int]
    encoder: Network
    decoder: Network
    critic: Network
    latent: int
    loss: AdversarialLoss
    share: float
    equilibrium: float
    margin: float
    judged: str

    makes: ClassVar[str] = "image"
    given: ClassVar[tuple[str, ...]] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The encoder, the decoder and the critic."""
        return (
            Turn("encoder", self.encoder_loss),
            Turn("decoder", self.decoder_loss),
            Turn("critic", self.critic_loss),
        )

    @property
    def network_evaluations(self) -> int:
        """One of the decoder."""
        return 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Parameters and running statistics of all players."""
        networks = {"encoder": self.encoder, "decoder": self.decoder, "critic": self.critic}
        made = {name: net.init(own) for (name, net), own in zip(networks.items(), jax.random.split(key, 3))}
        return {name: each[0] for name, each in made.items()}, {name: each[1] for name, each in made.items()}

    def encoder_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3), in nats per example; its metrics are (1) and (2)."""
        x = batch["image"]
        z, kl, statistics = self._posterior(params, buffers, x, key)
        made, _ = self._decoded(params, buffers, z)
        likeness = self._likeness(params, buffers, x, made)
        return kl + likeness, Aux({"kl": kl, "likeness": likeness}, {"encoder": statistics})

    def decoder_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(4) under (6)."""
        x = batch["image"]
        made, samples, statistics = self._made(params, buffers, x, key)
        real, fake, _ = self._logits(params, buffers, x, made, samples)
        _, moves = balance(real, fake, self.equilibrium, self.margin)
        loss = self.share * self._likeness(params, buffers, x, made) + (1 - self.share) * self.loss.generator(fake)
        figures = {"moves": moves.astype(jnp.float32), "distinct": collapse.distinct(samples, x)}
        return _if(moves, loss), Aux(figures, {"decoder": statistics})

    def critic_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(5) under (6)."""
        x = batch["image"]
        made, samples, _ = self._made(params, buffers, x, key)
        real, fake, statistics = self._logits(params, buffers, x, made, samples)
        moves, _ = balance(real, fake, self.equilibrium, self.margin)
        figures = {"real_logit": real.mean(), "fake_logit": fake.mean(), "gap": collapse.gap(real, fake)}
        figures["moves"] = moves.astype(jnp.float32)
        return _if(moves, self.loss.critic(real, fake)), Aux(figures, {"critic": statistics})

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """``n`` images ``[n, H, W, C]``."""
        return self.decode(params, buffers, jax.random.normal(key, (n, self.latent)))

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of q(z | x), each ``[B, latent]``."""
        output, _ = self.encoder.apply(params["encoder"], buffers["encoder"], x)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        return mean, log_variance

    def decode(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """Images ``[B, H, W, C]`` of latents ``[B, latent]``."""
        return self.decoder.apply(params["decoder"], buffers["decoder"], z)[0]

    @property
    def latent_field(self) -> Field:
        """The means of q(z | x)."""
        return Field((self.latent,), REAL)

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The means of q(z | x), ``[B, latent]``."""
        return self.encode(params, buffers, x)[0]

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """The images of latents."""
        return self.decode(params, buffers, z)

    def _posterior(
        self, params: Params, buffers: Buffers, x: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, Tree]:
        """A draw of q(z | x), the mean of (1), and the encoder's statistics behind it."""
        output, statistics = self.encoder.apply(params["encoder"], buffers["encoder"], x, train=True)
        mean, log_variance = jnp.split(output, 2, axis=-1)
        kl = distributions.standard_normal_kl(mean, log_variance).sum(axis=-1).mean()
        return distributions.normal_sample(jax.random.fold_in(key, 0), mean, log_variance), kl, statistics

    def _decoded(self, params: Params, buffers: Buffers, z: jax.Array) -> tuple[jax.Array, Tree]:
        return self.decoder.apply(params["decoder"], buffers["decoder"], z, train=True)

    def _made(
        self, params: Params, buffers: Buffers, x: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, Tree]:
        """Reconstructions, samples, and the decoder's statistics behind both."""
        z, _, _ = self._posterior(params, buffers, x, key)
        made, statistics = self._decoded(params, buffers, z)
        drawn = jax.random.normal(jax.random.fold_in(key, 1), z.shape)
        samples, statistics = self._decoded(params, {**buffers, "decoder": statistics}, drawn)
        return made, samples, statistics

    def _seen(self, params: Params, statistics: Tree, x: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Tree]:
        return self.critic.apply(params["critic"], statistics, x, train=True)

    def _likeness(self, params: Params, buffers: Buffers, x: jax.Array, made: jax.Array) -> jax.Array:
        """The mean of (2)."""
        (_, target), (_, found) = (self._seen(params, buffers["critic"], each)[0] for each in (x, made))
        return 0.5 * jnp.square(target - found).sum(axis=-1).mean()

    def _logits(
        self, params: Params, buffers: Buffers, x: jax.Array, made: jax.Array, samples: jax.Array
    ) -> tuple[jax.Array, jax.Array, Tree]:
        """Of images, of all that is made and judged, and the critic's statistics behind them."""
        (real, _), statistics = self._seen(params, buffers["critic"], x)
        fakes = []
        for each in (samples, made) if self.judged == "both" else (samples,):
            (logits, _), statistics = self._seen(params, statistics, each)
            fakes.append(logits)
        return real, jnp.concatenate(fakes), statistics


def balance(real: jax.Array, fake: jax.Array, equilibrium: float, margin: float) -> tuple[jax.Array, jax.Array]:
    """(6): whether the critic moves, and whether the decoder does, of logits ``[B]`` of images and of what is made."""
    costs = jnp.stack([softplus(-real).mean(), softplus(fake).mean()])
    if not margin:
        return jnp.asarray(True), jnp.asarray(True)
    critic = (costs >= equilibrium - margin).all()
    decoder = (costs <= equilibrium + margin).all()
    neither = ~critic & ~decoder
    return critic | neither, decoder | neither


def _if(moves: jax.Array, loss: jax.Array) -> jax.Array:
    """The loss, and its gradient where its player moves."""
    return jnp.where(moves, loss, jax.lax.stop_gradient(loss))


@plain
class VAEGANConfig:
    """A VAE-GAN as plain data."""

    latent: Count = 32
    """Width of z."""
    widths: tuple[Count, ...] = (16, 32, 64)
    """Channels of the encoder's convolutions, from the image inwards; each halves the side."""
    dense: Count = 128
    """Width of the encoder's dense layer."""
    decoder_widths: tuple[Count, ...] = (64, 32, 8)
    """Channels of the decoder's convolutions, from its latents outwards; each doubles the side."""
    critic_widths: tuple[Count, ...] = (8, 32, 64, 64)
    """Channels of the critic's convolutions; each but the first halves the side."""
    critic_dense: Count = 64
    """Width of the critic's dense layer."""
    loss: Literal["minimax", "non_saturating"] = "non_saturating"
    """What the decoder minimises as a generator."""
    share: Share = 1e-3
    """Weight of the likeness of features in the decoder's loss; that of the critic has the rest."""
    equilibrium: Amount = 0.68
    """Costs of a critic that knows nothing, about which the players are balanced."""
    margin: Amount = 0.35
    """How far a cost may be from there before a player rests; 0: nobody ever does."""
    judged: Literal["both", "samples"] = "both"
    """What the critic is shown beside images: reconstructions and samples, or samples alone."""

    def build(self, fields: Fields) -> VAEGAN:
        """The game for images of any size."""
        shape, _ = of_images(fields)
        make: Callable[..., Network] = partial(network, channels=shape[2])

        def fitted(module: Any, halvings: int, **options: Any) -> Network:
            return padded(lambda size: make(module, size=size, **options), shape[:2], 1 << halvings)

        return VAEGAN(
            shape,
            fitted(Encoder, len(self.widths), latent=self.latent, widths=self.widths, dense=self.dense),
            fitted(Decoder, len(self.decoder_widths), latent=self.latent, widths=self.decoder_widths),
            fitted(Critic, len(self.critic_widths) - 1, widths=self.critic_widths, dense=self.critic_dense),
            self.latent,
            LOSSES[self.loss],
            self.share,
            self.equilibrium,
            self.margin,
            self.judged,
        )


REFERENCE = VAEGANConfig(
    128, (64, 128, 256), 1024, (256, 128, 32), (32, 128, 256, 256), 512, "minimax", 1e-6, judged="samples"
)
"""64x64 colour, faces: encoder 18,071,360, decoder 4,693,155 and critic 10,953,857 parameters. RMSProp."""
SMALL = VAEGANConfig()
"""For 28x28 Fashion-MNIST on a CPU."""
