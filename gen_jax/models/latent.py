"""Any model as the prior of any codec.

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv:2112.10752); van den Oord et
al. 2017 (arXiv:1711.00937). A codec that an earlier run has trained is a player who never moves; the prior plays its
own game on what the codec makes of the data:

(1) z = encode(x),  the prior's turns on z in place of x
(2) x = decode(z),  z a sample of the prior
(3) log p(x) >= log p(x | z(x)) + log p(z(x)),  where z are symbols, of which every code of x is one term

What a latent is, is said by a field: real numbers of a VAE, symbols of a VQ-VAE; a prior is any model of such a field.
Where the codec's posterior q(z | x) is a law, z may be its mean or, anew in every step, a draw: then the prior learns
the aggregate posterior E_x q(z | x), which the decoder was trained on, as in the two-stage VAE of Dai and Wipf
(:mod:`gen_jax.models.two_stage`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, Protocol

import jax

from gen_jax.checks import plain
from gen_jax.fields import Field, Fields
from gen_jax.protocol import Aux, Batch, Buffers, Configuration, Model, Params, Turn

LATENT = "latent"  # the field


class Codec(Protocol):
    """A model that can be one: what a game with an encoder and a decoder adds to :class:`gen_jax.protocol.Model`.

    One that is told something takes it both ways, by field; that of a :class:`Latent` is told nothing.
    """

    makes: Any

    @property
    def codec_player(self) -> str:
        """The player that encodes and decodes."""
        ...

    @property
    def latent_field(self) -> Field:
        """What the latents are."""
        ...

    def to_latents(self, params: Params, buffers: Buffers, x: jax.Array) -> jax.Array:
        """The latents ``[B, ...]`` of examples, as a prior sees them."""
        ...

    def from_latents(self, params: Params, buffers: Buffers, z: jax.Array) -> jax.Array:
        """Examples of latents."""
        ...


@dataclass(frozen=True)
class Latent:
    """The prior's game, with one more player who never moves, ``codec``."""

    codec: Any  # a Model that is a Codec
    prior: Model
    draws: bool = False  # whether latents are draws from the codec's posterior

    @property
    def begins(self) -> tuple[str, ...]:
        """Players that are trained before: the codec, and those of the prior."""
        return ("codec", *getattr(self.prior, "begins", ()))

    @property
    def makes(self) -> str:
        """What the codec makes."""
        return self.codec.makes

    @property
    def given(self) -> tuple[str, ...]:
        """What the prior is told."""
        return self.prior.given

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those of the prior, on latents."""
        return tuple(turn._replace(loss=self._on_latents(turn.loss)) for turn in self.prior.turns)

    @property
    def network_evaluations(self) -> int:
        """Those of the prior, and one of the decoder."""
        return self.prior.network_evaluations + 1

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The prior, and a codec in whose place a run puts a trained one."""
        keys = jax.random.split(key)
        codec, carried = self.codec.init(keys[0], batch)
        own = {"codec": codec[self.codec.codec_player]}, {"codec": carried[self.codec.codec_player]}
        params, buffers = self.prior.init(keys[1], self._encoded(*own, batch, keys[0]))
        return {**own[0], **params}, {**own[1], **buffers}

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, **given: jax.Array) -> jax.Array:
        """(2), ``n`` of them, told what the prior is told."""
        return self.codec.from_latents(
            *self._of_codec(params, buffers), self.prior.sample(params, buffers, key, n, **given)
        )

    @property
    def log_prob_kind(self) -> str:
        """A lower bound, (3); an AttributeError, as where there is none, of a codec or a prior without likelihoods."""
        _ = self.codec.log_likelihood, self.prior.log_prob  # type: ignore[attr-defined]
        return "lower bound"

    @property
    def log_prob(self) -> Callable[..., jax.Array]:
        """(3) of a batch, nats ``[B]``, where :attr:`log_prob_kind` is one."""
        _ = self.log_prob_kind
        return self._bound

    def _bound(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        told = self._encoded(params, buffers, batch, key)
        given_codes = self.codec.log_likelihood(*self._of_codec(params, buffers), key, batch[self.codec.makes])
        return given_codes + self.prior.log_prob(params, buffers, key, told)  # type: ignore[attr-defined]

    def _encoded(self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array) -> Batch:
        own, x = self._of_codec(params, buffers), batch[self.codec.makes]
        z = self.codec.draw_latents(*own, key, x) if self.draws else self.codec.to_latents(*own, x)
        return {**{name: x for name, x in batch.items() if name != self.codec.makes}, LATENT: z}

    def _of_codec(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        return {self.codec.codec_player: params["codec"]}, {self.codec.codec_player: buffers["codec"]}

    def _on_latents(self, loss: Callable[..., tuple[jax.Array, Aux]]) -> Callable[..., tuple[jax.Array, Aux]]:
        @wraps(loss)
        def on_latents(
            params: Params, buffers: Buffers, batch: Batch, key: jax.Array, **options: Any
        ) -> tuple[jax.Array, Aux]:
            draw_key, own_key = jax.random.split(key) if self.draws else (key, key)
            return loss(params, buffers, self._encoded(params, buffers, batch, draw_key), own_key, **options)

        return on_latents


@plain
class LatentConfig:
    """A codec and its prior as plain data."""

    codec: Configuration
    """Of the codec, as it was trained; without labels."""
    prior: Configuration
    """Of any model of the codec's latents."""
    latents: Literal["means", "draws"] = "means"
    """Of the codec's posterior, where it has one: its means, or draws from it in every step."""

    def build(self, fields: Fields) -> Latent:
        """The game on the codec's data.

        Raises:
          ValueError: if the codec cannot be built, is none or has no posterior to draw from, or the prior is no model
            of its latents.
        """
        codec = self.codec.build(fields)
        if not hasattr(codec, "codec_player"):
            raise ValueError(f"expected a codec, with an encoder and a decoder, got {type(self.codec).__name__}")
        if codec.given:
            raise ValueError(
                "expected a codec that is told nothing, got conditional=True; the prior may be told labels"
            )
        if self.latents == "draws" and not hasattr(codec, "draw_latents"):
            raise ValueError(
                f"latents: 'draws' are of a codec with a posterior, got {type(self.codec).__name__}; take 'means'"
            )
        others = {name: field for name, field in fields.items() if name != codec.makes}
        prior = self.prior.build({**others, LATENT: codec.latent_field})
        return Latent(codec, prior, draws=self.latents == "draws")
