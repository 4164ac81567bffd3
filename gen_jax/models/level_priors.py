"""Two priors of one row of codes, those of a coarse level and then those of a fine one, who is told the first.

Razavi, van den Oord and Vinyals 2019 (arXiv:1906.00446).

(1) p(t, b) = p(t | label) p(b | t, label),  each an :class:`~gen_jax.models.autoregressive.Autoregressive` game

They learn side by side, or each in a run of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gen_jax.models.autoregressive import Autoregressive
from gen_jax.models.latent import LATENT
from gen_jax.protocol import Aux, Batch, Buffers, Params, Turn

LEVELS = ("top", "bottom")


@dataclass(frozen=True)
class LevelPriors:
    """The game of (1) on codes ``[B, T + S]``; who does not train is of an earlier run, or not trained yet."""

    top: Autoregressive
    bottom: Autoregressive
    trains: tuple[str, ...] = LEVELS

    makes: ClassVar[str] = LATENT
    log_prob_kind: ClassVar[str] = "exact"

    @property
    def begins(self) -> tuple[str, ...]:
        """The top, where the bottom learns alone."""
        return ("top",) if self.trains == ("bottom",) else ()

    @property
    def given(self) -> tuple[str, ...]:
        """What the top is told."""
        return self.top.given

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn for each prior that trains."""
        priors = {"top": self.top, "bottom": self.bottom}
        return tuple(
            turn._replace(loss=self._by_level(turn.loss)) for level in self.trains for turn in priors[level].turns
        )

    @property
    def network_evaluations(self) -> int:
        """One pass for each code."""
        return self.top.network_evaluations + self.bottom.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """Both networks."""
        top, bottom = (prior.init(own, batch) for prior, own in zip((self.top, self.bottom), jax.random.split(key)))
        return {**top[0], **bottom[0]}, {**top[1], **bottom[1]}

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """Log p(t) + log p(b | t), nats ``[B]``."""
        parts = self._parts(batch)
        return self.top.log_prob(params, buffers, key, parts) + self.bottom.log_prob(params, buffers, key, parts)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, **given: jax.Array) -> jax.Array:
        """Codes int32 ``[n, T + S]``: the top's, then the bottom's given these."""
        keys = jax.random.split(key)
        top = self.top.sample(params, buffers, keys[0], n, **given)
        bottom = self.bottom.sample(params, buffers, keys[1], n, top=top, **given)
        return jnp.concatenate([top.reshape(n, -1), bottom.reshape(n, -1)], axis=1)

    def _parts(self, batch: Batch) -> Batch:
        index, length = batch[LATENT], self.top.length
        return {**batch, "top": index[:, :length], "bottom": index[:, length:]}

    def _by_level(self, loss: Callable[..., tuple[jax.Array, Aux]]) -> Callable[..., tuple[jax.Array, Aux]]:
        @wraps(loss)
        def by_level(
            params: Params, buffers: Buffers, batch: Batch, key: jax.Array, **options: Any
        ) -> tuple[jax.Array, Aux]:
            return loss(params, buffers, self._parts(batch), key, **options)

        return by_level
