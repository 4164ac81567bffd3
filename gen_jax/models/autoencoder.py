"""Autoencoders: plain, sparse, contractive and denoising.

Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks" (Science 313); linear ones are
PCA: Baldi and Hornik 1989. Ng 2011, "Sparse autoencoder" (CS294A lecture notes); Rifai et al. 2011, "Contractive
Auto-Encoders" (ICML); Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders"
(ICML), 2011, "A Connection Between Score Matching and Denoising Autoencoders"; Bengio et al. 2013, "Generalized
Denoising Auto-Encoders as Generative Models" (arXiv:1305.6663).

(1) L = E |x - r(c(x))|^2 + weight P            r(x) = g(f(x)), c corrupts; summed over the numbers of an example
(2) plain, denoising   P = 0                    f ends in no function, without corruption c(x) = x
(3) sparse             P = sum_j KL(rho || rho_j)      rho_j the mean of f_j over the batch, f ends in a sigmoid
(4) contractive        P = E |df/dx|_F^2               f ends in a sigmoid
(5) z ~ N(m, C), x = g(z)                       m and C running moments of the codes f(c(x))
(6) x_t = r(c(x_{t-1})) + s e, e ~ N(0, I)      s^2 the running error of a number in (1)
(7) r(x) = x + sigma^2 grad log p_sigma(x)      the best denoiser of noise sigma: Tweedie's score of smoothed data

An autoencoder has no prior, and its samples are not draws from a model that was trained: (5) is a Gaussian fitted to
codes afterwards. From there a denoising one goes on by the Markov chain (6), whose stationary law is that of the data
where the errors are Gaussian and alike (Bengio et al.; their training along the chain, "walkback", is not done here).
What is shown is the mean r(c(x)) of the chain's last step.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp

from gen_jax.checks import Amount, Number, Positive, Within, plain
from gen_jax.fields import PIXELS, REAL, Field, Fields, made_of
from gen_jax.networks.autoencoders import Coder
from gen_jax.nn import corrupt
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

DECAY = 0.99  # a step, of the running moments and error

Encode = Callable[[jax.Array], jax.Array]
Penalty = Callable[[Encode, jax.Array, jax.Array], jax.Array]
"""``(f, x, f(x))`` to P, a scalar."""


def no_penalty(encode: Encode, x: jax.Array, code: jax.Array) -> jax.Array:
    """0."""
    return jnp.zeros(())


def sparsity(encode: Encode, x: jax.Array, code: jax.Array, *, active: float) -> jax.Array:
    """(3) with rho ``active``, nats."""
    mean = jnp.clip(code.mean(axis=0), 1e-6, 1 - 1e-6)  # a unit that is silent in all of a batch
    return (active * jnp.log(active / mean) + (1 - active) * jnp.log((1 - active) / (1 - mean))).sum()


def contraction(encode: Encode, x: jax.Array, code: jax.Array) -> jax.Array:
    """(4), exactly: a pass backwards for every number of the code."""
    _, pull = jax.vjp(encode, x)
    rows = jax.vmap(lambda unit: pull(jnp.broadcast_to(unit, code.shape))[0])(jnp.eye(code.shape[-1], dtype=code.dtype))
    return jnp.square(rows).sum() / x.shape[0]


def identity(x: jax.Array) -> jax.Array:
    """As it is."""
    return x


def uncorrupted(key: jax.Array, x: jax.Array) -> jax.Array:
    """As it is."""
    return x


@dataclass(frozen=True)
class Autoencoder:
    """A game of one player, ``autoencoder``: encoder and decoder."""

    field: Field
    makes: str
    encoder: Network  # x [B, ...] -> [B, latent]
    decoder: Network  # z [B, latent] -> [B, ...]
    latent: int
    ends_in: Callable[[jax.Array], jax.Array] = identity  # what f applies behind the encoder
    corrupt: Callable[[jax.Array, jax.Array], jax.Array] = uncorrupted  # (key, x) -> c(x)
    penalty: Penalty = no_penalty
    weight: float = 0.0
    walk_steps: int = 0

    given: ClassVar[tuple[str, ...]] = ()
    codec_player: ClassVar[str] = "autoencoder"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (1)."""
        return (Turn("autoencoder", self.loss),)

    @property
    def network_evaluations(self) -> int:
        """One of the decoder, and one of both networks for every step of (6)."""
        return 1 + self.walk_steps

    @property
    def latent_field(self) -> Field:
        """The codes."""
        return Field((self.latent,), REAL)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks; the codes' moments are those of N(0, I), the error is 1."""
        keys = jax.random.split(key)
        encoder, encoder_buffers = self.encoder.init(keys[0])
        decoder, decoder_buffers = self.decoder.init(keys[1])
        moments = {"mean": jnp.zeros(self.latent), "covariance": jnp.eye(self.latent), "error": jnp.ones(())}
        carried = {"encoder": encoder_buffers, "decoder": decoder_buffers, **moments}
        return {"autoencoder": {"encoder": encoder, "decoder": decoder}}, {"autoencoder": carried}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: dict
    ) -> tuple[jax.Array, Aux]:
        """(1)."""
        x = batch[self.makes]
        encode = partial(self.to_latents, params, buffers)
        code = encode(self.corrupt(key, x))
        squares = jnp.square(x - self._decode(params, buffers, code))
        reconstruction = squares.sum() / x.shape[0]
        own = buffers["autoencoder"]
        first, new = step == 0, jax.lax.stop_gradient(code)

        def average(old: jax.Array, now: jax.Array) -> jax.Array:
            return jnp.where(first, now, DECAY * old + (1 - DECAY) * now)

        mean = average(own["mean"], new.mean(axis=0))
        apart = new - mean
        moments = {
            "mean": mean,
            "covariance": average(own["covariance"], apart.T @ apart / x.shape[0]),
            "error": average(own["error"], jax.lax.stop_gradient(squares.mean())),
        }
        figures = {"reconstruction": reconstruction}
        if self.weight:
            clean = code if self.corrupt is uncorrupted else encode(x)
            figures["penalty"] = self.penalty(encode, x, clean)
        total = reconstruction + self.weight * figures.get("penalty", jnp.zeros(()))
        return total, Aux(figures, {"autoencoder": {**own, **moments}})

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The codes f(x), ``[B, latent]``."""
        own = buffers["autoencoder"]["encoder"]
        return self.ends_in(self.encoder.apply(params["autoencoder"]["encoder"], own, x)[0])

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """Examples g(z), pixels in [-1, 1]."""
        return jnp.clip(self._decode(params, buffers, z), -self.field.kind.limit, self.field.kind.limit)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """(5), and from there ``walk_steps`` of (6)."""
        code_key, walk_key = jax.random.split(key)
        own = buffers["autoencoder"]
        values, vectors = jnp.linalg.eigh(own["covariance"])  # of any rank: a unit may be silent
        root = (vectors * jnp.sqrt(jnp.maximum(values, 0.0))) @ vectors.T
        z = own["mean"] + jax.random.normal(code_key, (n, self.latent)) @ root
        x = self.from_latents(params, buffers, z)
        if not self.walk_steps:
            return x
        mean = self.walk(params, buffers, walk_key, x, self.walk_steps)[1]
        return jnp.clip(mean, -self.field.kind.limit, self.field.kind.limit)

    def walk(
        self, params: Params, buffers: Buffers, key: jax.Array, x: jax.Array, steps: int
    ) -> tuple[jax.Array, jax.Array]:
        """``steps`` of (6), at least one, from examples ``[B, ...]``: the last x, and its mean r(c(x))."""
        spread = jnp.sqrt(buffers["autoencoder"]["error"])

        def one(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
            corrupt_key, noise_key = jax.random.split(key)
            code = self.to_latents(params, buffers, self.corrupt(corrupt_key, carry[0]))
            mean = self._decode(params, buffers, code)
            return (mean + spread * jax.random.normal(noise_key, mean.shape), mean), None

        return jax.lax.scan(one, (x, x), jax.random.split(key, steps))[0]

    def _decode(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        return self.decoder.apply(params["autoencoder"]["decoder"], buffers["autoencoder"]["decoder"], z)[0]


def _autoencoder(net: Coder, fields: Fields) -> Autoencoder:
    name, field = made_of(fields)
    encoder, decoder = net.build(field.shape)
    return Autoencoder(field, name, encoder, decoder, net.latent)


def _corruption(name: str, amount: float, field: Field) -> Callable[[jax.Array, jax.Array], jax.Array]:
    if name == "gaussian":
        return partial(corrupt.gaussian, sigma=amount)
    if name == "masking":
        return partial(corrupt.masking, share=amount, low=-1.0 if field.kind is PIXELS else 0.0)
    if field.kind is not PIXELS:
        raise ValueError(f"corruption: expected gaussian or masking for real numbers, got {name!r}, which is of pixels")
    return partial(corrupt.salt_and_pepper, share=amount, limit=field.kind.limit)


@plain
class AutoencoderConfig:
    """A plain autoencoder; without convolutions and dense layers, a linear one."""

    net: Coder = Coder()
    """Both networks."""

    def build(self, fields: Fields) -> Autoencoder:
        """The game for images, or an array of real numbers by perceptrons."""
        return _autoencoder(self.net, fields)


@plain
class SparseAutoencoderConfig:
    """An autoencoder most of whose code is silent, by (3)."""

    net: Coder = Coder(latent=128)
    """Both networks."""
    active: Annotated[float, Within(0, 1, open_low=True, open_high=True)] = 0.05
    """What every number of the code, in (0, 1), should be on average: rho."""
    weight: Amount = 3.0
    """Of the penalty."""

    def build(self, fields: Fields) -> Autoencoder:
        """The game for images, or an array of real numbers by perceptrons."""
        penalty = partial(sparsity, active=self.active)
        return replace(_autoencoder(self.net, fields), ends_in=jax.nn.sigmoid, penalty=penalty, weight=self.weight)


@plain
class ContractiveAutoencoderConfig:
    """An autoencoder whose code changes little with its input, by (4)."""

    net: Coder = Coder()
    """Both networks."""
    weight: Amount = 0.1
    """Of the penalty."""

    def build(self, fields: Fields) -> Autoencoder:
        """The game for images, or an array of real numbers by perceptrons."""
        return replace(_autoencoder(self.net, fields), ends_in=jax.nn.sigmoid, penalty=contraction, weight=self.weight)


@plain
class DenoisingAutoencoderConfig:
    """An autoencoder that repairs its input, and samples by a chain of corrupting and repairing (6)."""

    net: Coder = Coder(latent=64)
    """Both networks."""
    corruption: Literal["gaussian", "masking", "salt and pepper"] = "gaussian"
    """Noise on all numbers, some that are black (of real numbers: 0), or some that are black or white."""
    amount: Positive = 0.5
    """Deviation of the noise, pixels being in [-1, 1]; or the share of numbers that are lost."""
    walk_steps: Number = 10
    """Steps of the chain for a sample; 0: a Gaussian of codes, decoded."""

    def __post_init__(self) -> None:
        if self.corruption != "gaussian" and self.amount > 1:
            raise ValueError(f"amount: expected a share of at most 1 for {self.corruption}, got {self.amount}")

    def build(self, fields: Fields) -> Autoencoder:
        """The game for images, or an array of real numbers by perceptrons.

        Raises:
          ValueError: if the corruption is of pixels, and the data are not.
        """
        plainly = _autoencoder(self.net, fields)
        corruption = _corruption(self.corruption, self.amount, plainly.field)
        return replace(plainly, corrupt=corruption, walk_steps=self.walk_steps)


REFERENCE = AutoencoderConfig(Coder(latent=30, widths=(), dense=(1000, 500, 250)))
"""The layout of Hinton and Salakhutdinov 2006 at 28x28, with hidden layers of tanh: 2,837,314 parameters."""
SMALL = AutoencoderConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU."""
