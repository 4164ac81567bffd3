"""Symbols one after the other, as a prior over codes.

van den Oord et al. 2016 (arXiv:1606.05328), van den Oord et al. 2017 (arXiv:1711.00937); restricted draws: Holtzman et
al. 2020 (arXiv:1904.09751); inputs that are not kept: Esser, Rombach and Ommer 2021 (arXiv:2012.09841).

(1) p(k) = prod_i p(k_i | k_<i, label, what else is told), exactly; the loss is -log p(k), nats per example
(2) in training each k_j of a condition is kept with a probability, and is otherwise any symbol; k_i never
(3) drawn is k_i of softmax(logits / temperature), of its ``top_k`` likeliest alone, or of the fewest likeliest that
    together have a probability of ``top_p``

Symbols of a grid come row by row. A window that slides over a larger grid than one of a training example has each code
drawn given those above and left of it in a window of that size, with the code as near its middle as the border allows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from gen_jax.checks import Number, Positive, Within, plain
from gen_jax.models.latent import Latent
from gen_jax.networks.transformer import CausalTransformer, empty_cache
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

Choose = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, codes] and a position -> codes int32 [B]
Draw = Callable[[Network, Tree, jax.Array, tuple[jax.Array, ...], Choose], jax.Array]
"""From a network, its parameters, labels int32 ``[n]``, what else is told and a choice to codes int32 ``[n, T]``."""


@plain
class Choice:
    """(3)."""

    temperature: Positive = 1.0
    """What logits are divided by."""
    top_k: Number = 0
    """Likeliest codes that are drawn of; 0: all."""
    top_p: Annotated[float, Within(0, 1, open_low=True)] = 1.0
    """Probability of the fewest likeliest codes that are drawn of."""

    def restricted(self, logits: jax.Array) -> jax.Array:
        """Logits ``[..., codes]`` of the law (3), those of codes that are not drawn at minus infinity."""
        logits = logits / self.temperature if self.temperature != 1.0 else logits
        ordered = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)
        if 0 < self.top_k < logits.shape[-1]:
            logits = jnp.where(logits < ordered[..., self.top_k - 1, None], -jnp.inf, logits)
            ordered = jnp.where(jnp.arange(logits.shape[-1]) < self.top_k, ordered, -jnp.inf)
        if self.top_p < 1:
            p = jax.nn.softmax(ordered)
            likelier = jnp.cumsum(p, axis=-1) - p  # the first is always among them
            least = jnp.where(likelier < self.top_p, ordered, jnp.inf).min(axis=-1, keepdims=True)
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return logits


@dataclass(frozen=True)
class Autoregressive:
    """A game of one player.

    Attributes:
      shape: of the codes of an example: a grid, or a sequence.
      codes: how many symbols there are.
      classes: labels that it is told, 0 for none.
      net: ``codes int32 [B, T], label int32 [B], what else is told -> logits [B, T, codes]``; the logits of a position
        depend on positions before it alone.
      draw: how a whole example is drawn of it.
      choice: how a code is.
      keep: the probability of (2).
      player: its name.
      makes: the field of codes.
      told: further fields that it is told, integers ``[B, ...]``.
    """

    shape: tuple[int, ...]
    codes: int
    classes: int
    net: Network
    draw: Draw
    choice: Choice = Choice()
    keep: float = 1.0
    player: str = "prior"
    makes: str = "latent"
    told: tuple[str, ...] = ()
    log_prob_kind: str = "exact"

    @property
    def length(self) -> int:
        """Codes of an example."""
        return math.prod(self.shape)

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes, and what else is told."""
        return (*(("label",) if self.classes else ()), *self.told)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (1)."""
        return (Turn(self.player, self.prior_loss),)

    @property
    def network_evaluations(self) -> int:
        """One pass for each code."""
        return self.length

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network."""
        params, buffers = self.net.init(key)
        return {self.player: params}, {self.player: buffers}

    def prior_loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1) given (2), in nats per example."""
        index = self._flat(batch[self.makes])
        seen = index
        if self.keep < 1:
            keys = jax.random.split(key)
            kept = jax.random.bernoulli(keys[0], self.keep, index.shape)
            seen = jnp.where(kept, index, jax.random.randint(keys[1], index.shape, 0, self.codes))
        nats = -self._log_prob(params, seen, index, batch).mean()
        return nats, Aux({"nats_per_code": nats / self.length})

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """(1) exactly, nats ``[B]``, of codes ``[B, *shape]``."""
        index = self._flat(batch[self.makes])
        return self._log_prob(params, index, index, batch)

    def sample(self, params: Params, buffers: Buffers, key: jax.Array, n: int, **given: jax.Array) -> jax.Array:
        """Codes int32 ``[n, *shape]`` drawn one after the other by (3)."""
        index = self.draw(self.net, params[self.player], *self._conditions(given, n), self._chooser(key))
        return index.reshape(n, *self.shape)

    def sample_larger(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, size: tuple[int, int], **given: jax.Array
    ) -> jax.Array:
        """Codes int32 ``[n, *size]`` of a grid as large as the examples' or larger, under a sliding window.

        Raises:
          ValueError: of a smaller grid, and of codes in no grid.
        """
        if len(self.shape) != 2 or any(whole < part for whole, part in zip(size, self.shape)):
            raise ValueError(f"expected a grid of at least {list(self.shape)}, got {list(size)}")
        (height, width), choose = self.shape, self._chooser(key)
        label, told = self._conditions(given, n)
        apply = partial(self.net.apply, params[self.player], {})

        def one(index: jax.Array, position: jax.Array) -> tuple[jax.Array, None]:
            row, column = position // size[1], position % size[1]
            top = jnp.clip(row - height // 2, 0, size[0] - height)
            left = jnp.clip(column - width // 2, 0, size[1] - width)
            window = jax.lax.dynamic_slice(index, (0, top, left), (n, height, width))
            logits, _ = apply(window.reshape(n, -1), label, *told)
            code = choose(logits[:, (row - top) * width + column - left], position)
            return index.at[:, row, column].set(code), None

        return jax.lax.scan(one, jnp.zeros((n, *size), jnp.int32), jnp.arange(size[0] * size[1]))[0]

    def _log_prob(self, params: Params, seen: jax.Array, index: jax.Array, batch: Batch) -> jax.Array:
        label, told = self._conditions(batch, len(index))
        logits, _ = self.net.apply(params[self.player], {}, seen, label, *told)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), index[..., None], axis=-1).sum(axis=(-2, -1))

    def _conditions(self, given: Batch, n: int) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        label = given["label"] if self.classes else jnp.zeros(n, jnp.int32)
        return label, tuple(self._flat(given[name]) for name in self.told)

    def _chooser(self, key: jax.Array) -> Choose:
        own, _ = jax.random.split(key)

        def choose(logits: jax.Array, position: jax.Array) -> jax.Array:
            logits = self.choice.restricted(logits) if self.choice != Choice() else logits
            return jax.random.categorical(jax.random.fold_in(own, position), logits).astype(jnp.int32)

        return choose

    def _flat(self, index: jax.Array) -> jax.Array:
        return index.reshape(len(index), -1)


def with_cache(length: int, codes: int, **size: int) -> Draw:
    """How a :class:`CausalTransformer` of this size is drawn of: each code takes one step beside a cache."""

    def draw(net: Network, params: Tree, label: jax.Array, told: tuple[jax.Array, ...], choose: Choose) -> jax.Array:
        def step(carry: tuple[jax.Array, Tree], position: jax.Array) -> tuple[tuple[jax.Array, Tree], jax.Array]:
            token, cache = carry
            (logits, cache), _ = net.apply(params, {}, token, position, cache, method=CausalTransformer.step)
            code = choose(logits, position)
            return (code, cache), code

        start = (codes + label).astype(jnp.int32)
        cache = empty_cache(label.shape[0], length, **size)
        return jax.lax.scan(step, (start, cache), jnp.arange(length))[1].T

    return draw


def one_by_one(length: int) -> Draw:
    """How any network is drawn of: for each code it is applied to all before it."""

    def draw(net: Network, params: Tree, label: jax.Array, told: tuple[jax.Array, ...], choose: Choose) -> jax.Array:
        def step(index: jax.Array, position: jax.Array) -> tuple[jax.Array, None]:
            logits, _ = net.apply(params, {}, index, label, *told)
            return index.at[:, position].set(choose(logits[:, position], position)), None

        return jax.lax.scan(step, jnp.zeros((len(label), length), jnp.int32), jnp.arange(length))[0]

    return draw


def sample_larger(
    game: Latent, params: Params, buffers: Buffers, key: jax.Array, n: int, grid: tuple[int, int], **given: jax.Array
) -> jax.Array:
    """Images of a grid of codes as large as those of training or larger, by a window that slides over it.

    Args:
      game: a prior over a codec with a grid, both of which take larger ones.
      params: of all players.
      buffers: of all players.
      key: draws the codes.
      n: how many images.
      grid: rows and columns of codes.
      **given: what the prior is told.
    """
    index = game.prior.sample_larger(params, buffers, key, n, grid, **given)  # type: ignore[attr-defined]
    return game.codec.decode(params, buffers, index)
