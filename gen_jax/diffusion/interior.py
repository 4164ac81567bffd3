"""Increasing functions of time on [0, 1], fixed or learned: what lies between the ends of a noise schedule.

Kingma et al. 2021 (arXiv:2107.00630), whose network with positive weights (2) is a smaller form of.

(1) h(t) = t
(2) h(t) = d t + sum_k c_k sigmoid(a_k (t - m_k)),  a, c and d positive
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.protocol import Tree


class Interior(NamedTuple):
    """``init(key) -> params``, and ``value(params, t) -> h``, of the shape of t; no params, nothing to learn."""

    init: Callable[[jax.Array], Tree]
    value: Callable[[Tree, jax.Array], jax.Array]


LINE = Interior(lambda key: {}, lambda params, t: t)
"""(1)."""


def monotone(width: int) -> Interior:
    """(2) with ``width`` terms."""

    def init(key: jax.Array) -> Tree:
        place = jax.random.uniform(key, (width,))
        steps = {"log_steepness": jnp.full(width, 3.0), "height": jnp.full(width, -math.log(width))}
        return {"line": jnp.zeros(()), "place": place, **steps}

    def value(params: Tree, t: jax.Array) -> jax.Array:
        rising = jax.nn.sigmoid(jnp.exp(params["log_steepness"]) * (t[..., None] - params["place"]))
        return jax.nn.softplus(params["line"]) * t + rising @ jax.nn.softplus(params["height"])

    return Interior(init, value)
