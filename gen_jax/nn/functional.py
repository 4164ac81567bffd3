"""The border to Flax: an ``nnx.Module`` becomes a :class:`~gen_jax.protocol.Network` over plain nested dicts.

A module for this library is an ``nnx.Module`` that

* takes ``rngs: nnx.Rngs`` as the last keyword of its constructor and keeps no generator afterwards;
* is called as ``module(*inputs, key=None, train=False)``, where ``key`` feeds its dropout and ``train`` says whether
  batch statistics are taken and updated;
* holds ``nnx.Param`` (differentiated) and ``nnx.BatchStat`` (carried), and no other kind of state: a hidden
  generator is refused when the network is made.

Precision: a network computes in the type of its parameters. Inputs of rank two and higher follow it; vectors (times,
labels) keep their own, since a time of 998.4 cannot be told from 1000 in bfloat16. Outputs are float32 again.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gen_jax.protocol import Network, Tree


def network(module: Callable[..., nnx.Module], **hyperparameters: Any) -> Network:
    """The pure functions of ``module(**hyperparameters)``.

    Args:
      module: a class (or function) that makes the ``nnx.Module``; see the head of this file for what it must keep.
      **hyperparameters: what its constructor takes beside ``rngs``.

    Returns:
      A ``Network`` whose parameters and buffers are nested dicts with string keys. Two networks made of equal
      modules share nothing.

    Raises:
      ValueError: from ``init`` and ``apply``, if the module holds state other than parameters and batch statistics.
    """

    def build(key: jax.Array) -> tuple[Any, Tree, Tree]:
        graph, *states = nnx.split(module(**hyperparameters, rngs=_Rngs(key)), nnx.Param, nnx.BatchStat)
        return graph, _plain(states[0]), _plain(states[1])

    @functools.cache
    def definition() -> Any:
        kept = []

        def trace(key: jax.Array) -> tuple[Tree, Tree]:
            graph, params, buffers = build(key)
            kept.append(graph)
            return params, buffers

        jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)))
        return kept[0]

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        _, params, buffers = build(key)
        return params, buffers

    def apply(
        params: Tree,
        buffers: Tree,
        *inputs: Any,
        key: jax.Array | None = None,
        train: bool = False,
        method: Callable[..., Any] | None = None,
    ) -> tuple[Any, Tree]:
        instance = nnx.merge(definition(), _with_indices(params), _with_indices(buffers), copy=True)
        inputs = jax.tree.map(functools.partial(_follow, dtype=_dtype_of(params)), inputs)
        output = (method or type(instance).__call__)(instance, *inputs, key=key, train=train)
        output = jax.tree.map(_to_float32, output)
        if not train:
            return output, buffers
        return output, _plain(nnx.state(instance, nnx.BatchStat))

    return Network(init, apply)


def parameter_count(init: Callable[[jax.Array], Any]) -> int:
    """Number of parameters that ``init(key) -> (params, ...)`` would make, without making them."""
    params, *_ = jax.eval_shape(init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def parameters(module: nnx.Module) -> Tree:
    """The parameters of a module as they are, nested dicts with string keys: those that ``apply`` takes."""
    return _plain(nnx.state(module, nnx.Param))


class _Rngs(nnx.Rngs):
    """The keys of ``nnx.Rngs``, counted outside the trace: a network is traced in a third of the time."""

    def __init__(self, key: jax.Array):
        super().__init__(key)
        self.drawn = 0

    def params(self) -> jax.Array:
        self.drawn += 1
        return jax.random.fold_in(self.default.key[...], self.drawn - 1)


def _plain(state: Any) -> Tree:
    return _with_string_keys(nnx.to_pure_dict(state))


def _with_string_keys(tree: Tree) -> Tree:
    if not isinstance(tree, dict):
        return tree
    return {str(key): _with_string_keys(value) for key, value in tree.items()}


def _with_indices(tree: Tree) -> Tree:
    """The keys as Flax has them: it goes by their order, in which the word 10 would stand before the word 2."""
    if not isinstance(tree, dict):
        return tree
    return {int(key) if key.isdecimal() else key: _with_indices(value) for key, value in tree.items()}


def _dtype_of(params: Tree) -> jnp.dtype | None:
    return next((leaf.dtype for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)), None)


def _follow(x: Any, dtype: jnp.dtype | None) -> Any:
    if dtype is None or not hasattr(x, "ndim") or x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(dtype)


def _to_float32(x: Any) -> Any:
    return x.astype(jnp.float32) if hasattr(x, "dtype") and x.dtype == jnp.bfloat16 else x
