"""A causal transformer over short sequences of codes, with a cache for sampling.

Vaswani et al. 2017 (arXiv:1706.03762), with the normalisation before each branch. The sequence is shifted by one: the
first input is a start token, of which there is one for each class, and position ``i`` predicts code ``i`` from the
codes before it.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

Cache = tuple[jax.Array, jax.Array]  # keys and values of all layers, [layers, B, length, heads, width]

_INIT = nnx.initializers.normal(0.02)


class Block(nnx.Module):
    """Attention and a perceptron, each on the normalised input of its residual branch."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.qkv = nnx.Linear(width, 3 * width, kernel_init=_INIT, rngs=rngs)
        self.out = nnx.Linear(width, width, kernel_init=_INIT, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, kernel_init=_INIT, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, kernel_init=_INIT, rngs=rngs)

    def project(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values, each ``[B, T, heads, width / heads]``."""
        q, k, v = jnp.split(self.qkv(self.norm1(x)), 3, axis=-1)
        split = lambda a: a.reshape(*a.shape[:-1], self.heads, -1)  # noqa: E731
        return split(q), split(k), split(v)

    def finish(self, x: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
        """Both branches, given what may be attended to: ``mask`` is broadcast to ``[B, heads, T, S]``."""
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(mask, scores.astype(jnp.float32), -jnp.inf)).astype(v.dtype)
        mixed = jnp.einsum("bhts,bshd->bthd", weights, v)
        x = x + self.out(mixed.reshape(x.shape))
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


class CausalTransformer(nnx.Module):
    """``p(code_i | code_<i, class)`` as logits.

    Args:
      codes: size of the alphabet.
      length: codes in a sequence.
      classes: number of classes; 0 without.
      width: of the residual stream.
      layers: number of blocks.
      heads: of attention; must divide ``width``.
    """

    def __init__(self, codes: int, length: int, *, classes: int, width: int, layers: int, heads: int, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"the prior's width {width} is not divisible by its {heads} heads; change either")
        self.codes = codes
        self.embed = nnx.Embed(codes + max(classes, 1), width, embedding_init=_INIT, rngs=rngs)
        self.position = nnx.Param(_INIT(rngs.params(), (length, width), jnp.float32))
        self.blocks = nnx.List(Block(width, heads, rngs=rngs) for _ in range(layers))
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, codes, use_bias=False, kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(
        self, index: jax.Array, label: jax.Array, *, key: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Logits ``[B, T, codes]`` of all codes at once, from codes int32 ``[B, T]`` and labels int32 ``[B]``."""
        tokens = jnp.concatenate([self.codes + label[:, None], index[:, :-1]], axis=1)
        return self.logits(self.embed(tokens))

    def logits(self, embedded: jax.Array) -> jax.Array:
        """Logits ``[B, T, codes]`` from embedded inputs ``[B, T, width]``, the start token first."""
        x = embedded + self.position[...]
        mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
        for block in self.blocks:
            x = block.finish(x, *block.project(x), mask)
        return self.head(self.norm(x))

    def step(
        self,
        token: jax.Array,
        position: jax.Array,
        cache: Cache,
        *,
        key: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Cache]:
        """Logits ``[B, codes]`` after one more token int32 ``[B]`` at ``position``, and the cache with it."""
        x = self.embed(token)[:, None] + self.position[...][position]
        keys, values = cache
        mask = jnp.arange(keys.shape[2]) <= position
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x)
            keys = keys.at[layer, :, position].set(k[:, 0])
            values = values.at[layer, :, position].set(v[:, 0])
            x = block.finish(x, q, keys[layer], values[layer], mask)
        return self.head(self.norm(x))[:, 0], (keys, values)


def empty_cache(batch: int, length: int, *, width: int, layers: int, heads: int) -> Cache:
    """A cache before the first token."""
    shape = (layers, batch, length, heads, width // heads)
    return tuple(itertools.repeat(jnp.zeros(shape), 2))  # type: ignore[return-value]
