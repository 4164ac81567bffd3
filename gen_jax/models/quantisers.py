"""What makes codes of an encoder's outputs: a codebook that follows or descends, rounding, or signs.

The functions and their equations (1) to (9) are those of :mod:`gen_jax.losses.quantize`. Of each there is how it is
made, how it takes outputs to codes and back, and what it adds to the loss of a codec:

    averages   beta (3), the codebook by (4), codes that are hardly used restarted                            (10)
    gradient   beta (3) + (6)                                                                                 (11)
    fsq        nothing: there is no codebook                                                                  (12)
    lfq        beta (3) + weight (mean H - H of the mean) of (9)                                              (13)

In the loss of van den Oord et al. beta is the weight of the commitment, as it is here; the code that VQGAN was
published with has it on the other term.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax.losses import quantize
from gen_jax.losses.quantize import Codebook
from gen_jax.protocol import Tree

SHARPNESS = 100.0  # t of (9)
WINDOW = 100  # steps within which a code that was chosen counts as used


class Coded(NamedTuple):
    """What a batch is quantised to while a codec learns."""

    z_q: jax.Array
    """``[..., D]``, its gradient that of the outputs."""
    codes: jax.Array
    """int32 ``[...]``."""
    loss: jax.Array
    """Of (10) to (13)."""
    buffers: Tree
    figures: Mapping[str, jax.Array]


class Quantiser(NamedTuple):
    """Pure functions between outputs ``z [..., width]`` and codes int32 ``[...]``."""

    codes: int
    """How many there are."""
    width: int
    """Numbers of an output that are one code."""
    init: Callable[[jax.Array], tuple[Tree, Tree]]
    """From a key to parameters and buffers."""
    encode: Callable[[Tree, Tree, jax.Array], jax.Array]
    """From parameters, buffers and outputs to codes."""
    decode: Callable[[Tree, Tree, jax.Array], jax.Array]
    """From parameters, buffers and codes to what the decoder is given."""
    learn: Callable[[Tree, Tree, jax.Array, jax.Array], Coded]
    """From parameters, buffers, outputs and a key to all that a loss needs."""


def averages(codes: int, width: int, *, beta: float, decay: float, restart_below: float) -> Quantiser:
    """(10); its codebook is in the buffers."""

    def learn(params: Tree, buffers: Tree, z: jax.Array, key: jax.Array) -> Coded:
        book = _codebook(buffers)
        index = quantize.nearest(z, book.codes)
        z_q = book.codes[index]
        commitment = quantize.commitment(z, z_q)
        moved = quantize.follow(book, z, index, decay=decay)
        if restart_below:
            moved = quantize.restart(moved, z, key, below=restart_below)
        passed = quantize.straight_through(z, z_q)
        return Coded(passed, index, beta * commitment, moved._asdict(), {"commitment": commitment})

    return Quantiser(
        codes,
        width,
        lambda key: ({}, quantize.new_codebook(jax.random.normal(key, (codes, width)))._asdict()),
        lambda params, buffers, z: quantize.nearest(z, buffers["codes"]),
        lambda params, buffers, index: buffers["codes"][index],
        learn,
    )


def gradient(codes: int, width: int, *, beta: float) -> Quantiser:
    """(11); its codebook is in the parameters, uniform up to one over the number of codes at the start."""

    def init(key: jax.Array) -> tuple[Tree, Tree]:
        return {"codes": jax.random.uniform(key, (codes, width), minval=-1 / codes, maxval=1 / codes)}, {}

    def learn(params: Tree, buffers: Tree, z: jax.Array, key: jax.Array) -> Coded:
        index = quantize.nearest(z, jax.lax.stop_gradient(params["codes"]))
        z_q = params["codes"][index]
        commitment = quantize.commitment(z, z_q)
        loss = beta * commitment + quantize.codebook_distance(z, z_q)
        return Coded(quantize.straight_through(z, z_q), index, loss, {}, {"commitment": commitment})

    return Quantiser(
        codes,
        width,
        init,
        lambda params, buffers, z: quantize.nearest(z, params["codes"]),
        lambda params, buffers, index: params["codes"][index],
        learn,
    )


def fsq(levels: Sequence[int]) -> Quantiser:
    """(12)."""

    def learn(params: Tree, buffers: Tree, z: jax.Array, key: jax.Array) -> Coded:
        z_q = quantize.finite_scalars(z, levels)
        return Coded(z_q, quantize.number_of_levels(z_q, levels), jnp.zeros(()), {}, {})

    return Quantiser(
        math.prod(levels),
        len(levels),
        lambda key: ({}, {}),
        lambda params, buffers, z: quantize.number_of_levels(quantize.finite_scalars(z, levels), levels),
        lambda params, buffers, index: quantize.levels_of_number(index, levels),
        learn,
    )


def lfq(codes: int, *, beta: float, weight: float) -> Quantiser:
    """(13).

    Raises:
      ValueError: if the number of codes is no power of two.
    """
    width = codes.bit_length() - 1
    if codes != 1 << width or not width:
        raise ValueError(f"codes: expected a power of two from 2 on for signs, got {codes}")

    def learn(params: Tree, buffers: Tree, z: jax.Array, key: jax.Array) -> Coded:
        z_q = quantize.signs(z)
        commitment = quantize.commitment(z, z_q)
        each, together = quantize.sign_entropies(z, sharpness=SHARPNESS)
        figures = {"commitment": commitment, "entropy_of_each": each, "entropy_of_all": together}
        loss = beta * commitment + weight * (each - together)
        return Coded(quantize.straight_through(z, z_q), quantize.number_of_signs(z), loss, {}, figures)

    return Quantiser(
        codes,
        width,
        lambda key: ({}, {}),
        lambda params, buffers, z: quantize.number_of_signs(z),
        lambda params, buffers, index: quantize.signs_of_number(index, width),
        learn,
    )


def unused(codes: int) -> jax.Array:
    """Steps since each code was chosen, at the start: ``[codes]``, counted up to :data:`WINDOW`."""
    return jnp.full((codes,), float(WINDOW))


def use(index: jax.Array, idle: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The steps since each code was chosen behind a batch with codes ``index``, and what a log says of their use.

    ``perplexity`` is (5), ``used`` the share of all codes that were chosen within the last :data:`WINDOW` steps.
    """
    chosen = jnp.zeros(idle.shape, bool).at[index.reshape(-1)].set(True)
    idle = jnp.where(chosen, 0.0, jnp.minimum(idle + 1, WINDOW))
    return idle, {"perplexity": quantize.perplexity(index, len(idle)), "used": (idle < WINDOW).mean()}


def _codebook(buffers: Any) -> Codebook:
    return Codebook(*(buffers[name] for name in Codebook._fields))
