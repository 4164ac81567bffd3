"""Normalising flows: a likelihood that is exact, by an invertible map from data to standard normal noise.

Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using Real NVP" (arXiv:1605.08803); Kingma and Dhariwal 2018,
"Glow: generative flow with invertible 1x1 convolutions" (arXiv:1807.03039); Papamakarios, Pavlakou and Murray 2017,
"Masked autoregressive flow for density estimation" (arXiv:1705.07057); Durkan, Bekasov, Murray and Papamakarios 2019,
"Neural spline flows" (arXiv:1906.04032).

(1) log p(x) = log N(f(x); 0, I) + log|det df/dx|            the loss is its negative, in nats per example
(2) x = f^-1(z), z ~ N(0, I)                                 a sample
(3) log P(v) >= E_u log p(x + level (u - 1/2)) + D log level, u ~ U(0, 1)^D, of 8-bit pixels

One game; f is a chain of the layers of :mod:`gen_jax.nn.bijections`, put together in :mod:`gen_jax.networks.flow`.
Pixels are dequantised by (3), and pass a logit first; half of the latents of images leave at each level.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Count, Depth, Number, Positive, plain
from gen_jax.fields import Fields, Kind, made_of
from gen_jax.networks import flow
from gen_jax.nn.bijections import Chain, Logit
from gen_jax.nn.functional import network
from gen_jax.nn.transforms import AFFINE, Transform, spline
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn


@dataclass(frozen=True)
class Flow:
    """A game of one player, ``flow``.

    Attributes:
      shape: of an example, and of its latent.
      net: of a :class:`gen_jax.nn.bijections.Chain`, whose methods are f, its inverse and its start from data.
      makes: the field of the examples.
      kind: of what they are.
      network_evaluations: of f for a sample, as it is inverted.
    """

    shape: tuple[int, ...]
    net: Network
    makes: str
    kind: Kind
    network_evaluations: int = 1

    given: ClassVar[tuple[str, ...]] = ()

    @property
    def log_prob_kind(self) -> str:
        """A lower bound for pixels, which are dequantised; exact for real numbers."""
        return "lower bound" if self.kind.level else "exact"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (1)."""
        return (Turn("flow", self.loss),)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The layers, with normalisations that give the batch mean 0 and deviation 1 at each."""
        keys = jax.random.split(key)
        params, buffers = self.net.init(keys[0])
        x = distributions.dequantise(keys[1], batch[self.makes], self.kind.level)
        started, _ = self.net.apply(params, buffers, x, method=Chain.started)
        return {"flow": started}, {"flow": buffers}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """The negative of (1), of pixels of (3), nats per example."""
        log_prob = self.log_prob(params, buffers, key, batch).mean()
        return -log_prob, Aux({"log_likelihood": log_prob})

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """Log-density of real numbers by (1), or one draw of the bound (3) for 8-bit pixels, nats ``[B]``."""
        x = distributions.dequantise(key, batch[self.makes], self.kind.level)
        z, log_determinant = self.encode(params, buffers, x)
        normal = distributions.normal_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z))
        mass = math.prod(self.shape) * distributions.log_level(self.kind.level)
        return normal.reshape(len(z), -1).sum(1) + log_determinant + mass

    def encode(self, params: Params, buffers: Buffers, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The latents f(x) ``[B, *shape]`` and log|det df/dx| ``[B]``."""
        return self._apply(Chain.forward, params, buffers, x)

    def decode(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """(2) of latents ``z [B, *shape]``, clipped to where the data lie."""
        x = self._apply(Chain.inverse, params, buffers, z)
        return jnp.clip(x, -self.kind.limit, self.kind.limit)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int) -> jax.Array:
        """``n`` of (2), ``[n, *shape]``."""
        return self.decode(params, buffers, jax.random.normal(key, (n, *self.shape)))

    def _apply(self, method: Callable[..., Any], params: Params, buffers: Buffers, x: jax.Array) -> Any:
        # What dequantisation adds, and an inverse finds back, is lost in fewer bits.
        wide = jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params["flow"])
        return self.net.apply(wide, buffers["flow"], x, method=method)[0]


def _built(
    fields: Fields, make: Callable[..., Chain], transform: Transform, *, one_by_one: bool = False, **options: Any
) -> Flow:
    """The game on these fields; ``one_by_one`` where the inverse of each layer takes a pass a number."""
    name, field = made_of(fields)

    def chain(**given: Any) -> Chain:
        reach = field.kind.limit + field.kind.level / 2
        first = [Logit(reach)] if math.isfinite(reach) else []
        return make(first, field.shape, transform, **options, **given)

    passes = math.prod(field.shape) if one_by_one else 1
    return Flow(field.shape, network(chain), name, field.kind, passes)


@plain
class RealNVPConfig:
    """Affine couplings on chessboards and on channels; of what is no image, on every second number."""

    levels: Number = 2
    """Times that an image is halved; what has odd sides is not."""
    depth: Depth = 4
    """Couplings on each mask of a level."""
    width: Count = 64
    """Channels, or units, of the networks in the couplings."""

    def build(self, fields: Fields) -> Flow:
        """The game on images of any size, or on an array of real numbers; labels are not used."""
        return _built(fields, flow.real_nvp, AFFINE, levels=self.levels, depth=self.depth, width=self.width)


@plain
class GlowConfig:
    """Normalisation, 1x1 convolution and affine coupling; of what is no image, a linear map in place of it."""

    levels: Number = 2
    """Times that an image is halved; what has odd sides is not."""
    depth: Depth = 8
    """Steps of a level."""
    width: Count = 64
    """Channels, or units, of the networks in the couplings."""

    def build(self, fields: Fields) -> Flow:
        """The game on images of any size, or on an array of real numbers; labels are not used."""
        return _built(fields, flow.glow, AFFINE, levels=self.levels, depth=self.depth, width=self.width)


@plain
class MAFConfig:
    """Masked affine autoregressive layers: the likelihood in one pass, a sample in as many as it has numbers."""

    layers: Depth = 5
    """Autoregressive layers, in one order and the other."""
    hidden: tuple[Count, ...] = (256, 256)
    """Widths of the hidden layers in each."""

    def build(self, fields: Fields) -> Flow:
        """The game on images, or on an array of real numbers; labels are not used."""
        return _built(fields, flow.maf, AFFINE, one_by_one=True, layers=self.layers, hidden=self.hidden)


@plain
class SplineFlowConfig:
    """Glow with monotone splines of rational quadratics in place of affine maps."""

    levels: Number = 2
    """Times that an image is halved; what has odd sides is not."""
    depth: Depth = 4
    """Steps of a level."""
    width: Count = 64
    """Channels, or units, of the networks in the couplings."""
    bins: Depth = 8
    """Of each spline."""
    bound: Positive = 3.0
    """Splines are the identity outside [-bound, bound]."""

    def build(self, fields: Fields) -> Flow:
        """The game on images of any size, or on an array of real numbers; labels are not used."""
        transform = spline(self.bins, self.bound)
        return _built(fields, flow.glow, transform, levels=self.levels, depth=self.depth, width=self.width)


REFERENCE = GlowConfig(levels=3, depth=32, width=512)
"""Glow's levels, steps and width for CIFAR-10."""
SMALL = GlowConfig()
"""For 8x8 digits and 28x28 Fashion-MNIST on a CPU."""
POINTS = SplineFlowConfig(depth=4, width=64)
"""Points in the plane in a minute on two CPU cores."""
