"""Quantisation: by a codebook, by rounding, by signs.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (arXiv:1711.00937); codebook restarts as in
Dhariwal et al. 2020 (arXiv:2005.00341, section 3.1); rounding (FSQ): Mentzer et al. 2023 (arXiv:2309.15505); signs
(LFQ): Yu et al. 2023 (arXiv:2310.05737).

(1) k(z) = argmin_k |z - e_k|^2,  z_q = e_k(z)
(2) straight-through: forwards z_q, backwards the identity, so that dL/dz = dL/dz_q
(3) commitment: mean |z - sg(z_q)|^2
(4) codebook by moving averages (appendix A.1): N_k <- g N_k + (1 - g) n_k,  m_k <- g m_k + (1 - g) sum z,
    e_k = m_k / N_k; with g = 0 one step of Lloyd's algorithm
(5) perplexity: exp(- sum_k p_k log p_k) of the codes used in a batch
(6) codebook by gradient: mean |sg(z) - e_k(z)|^2, whose gradient in e_k is 2 n_k (e_k - mean of its z) / (N D)
(7) finite scalars: number i of z rounded to one of L_i levels, round(b(z)) / floor(L / 2), where
    b(z) = h tanh(z + tan(o / h)) - o,  h = (L - 1) (1 - 0.001) / 2,  o = 0 of an odd L and 1/2 of an even one;
    the code is the number whose digits, to the bases L_i, are the levels
(8) signs: z_q = sign(z), the code has a bit for each number above 0;
(9) entropies of signs: with p(k | z) proportional to exp(2 t z . c_k) over all c_k in {-1, 1}^D, which is a product
    over bits of sigmoid(+-4 t z_i): mean H(p(. | z)), to be small, and H(mean p), to be large, at most D log 2
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Codebook(NamedTuple):
    """``K`` codes with the moving averages (4) behind them."""

    codes: jax.Array  # [K, D]
    counts: jax.Array  # [K]
    sums: jax.Array  # [K, D]


def new_codebook(codes: jax.Array) -> Codebook:
    """Averages that agree with ``codes [K, D]``, each as if it had been used once a batch."""
    return Codebook(codes, jnp.ones(codes.shape[:1]), codes)


def nearest(z: jax.Array, codes: jax.Array) -> jax.Array:
    """(1): int32 ``[...]`` for ``z [..., D]``; the first of equally near codes."""
    flat = z.reshape(-1, z.shape[-1])
    distance = (codes**2).sum(axis=-1) - 2 * jnp.matmul(flat, codes.T, precision="highest")
    return distance.argmin(axis=-1).astype(jnp.int32).reshape(z.shape[:-1])


def straight_through(z: jax.Array, z_q: jax.Array) -> jax.Array:
    """(2)."""
    return z + jax.lax.stop_gradient(z_q - z)


def commitment(z: jax.Array, z_q: jax.Array) -> jax.Array:
    """(3), the mean over all elements."""
    return jnp.mean((z - jax.lax.stop_gradient(z_q)) ** 2)


def follow(codebook: Codebook, z: jax.Array, index: jax.Array, *, decay: float) -> Codebook:
    """(4) from encoder outputs ``z [..., D]`` and their codes; a code whose count is zero stays where it is."""
    flat = jax.lax.stop_gradient(z.reshape(-1, z.shape[-1]))
    one_hot = jax.nn.one_hot(index.reshape(-1), codebook.codes.shape[0])  # [N, K]
    counts = decay * codebook.counts + (1 - decay) * one_hot.sum(axis=0)
    sums = decay * codebook.sums + (1 - decay) * jnp.matmul(one_hot.T, flat, precision="highest")
    used = counts[:, None] > 1e-8
    codes = jnp.where(used, sums / jnp.maximum(counts[:, None], 1e-8), codebook.codes)
    return Codebook(codes, counts, sums)


def restart(codebook: Codebook, z: jax.Array, key: jax.Array, *, below: float) -> Codebook:
    """Moves every code used less than ``below`` times a batch, on average, to a random encoder output of this batch."""
    flat = jax.lax.stop_gradient(z.reshape(-1, z.shape[-1]))
    chosen = flat[jax.random.randint(key, codebook.counts.shape, 0, flat.shape[0])]
    dead = codebook.counts < below
    fresh = new_codebook(chosen)
    return Codebook(
        jnp.where(dead[:, None], fresh.codes, codebook.codes),
        jnp.where(dead, jnp.maximum(fresh.counts, below), codebook.counts),
        jnp.where(dead[:, None], fresh.codes * jnp.maximum(1.0, below), codebook.sums),
    )


def perplexity(index: jax.Array, size: int) -> jax.Array:
    """(5): between 1 and ``size`` codes."""
    p = jax.nn.one_hot(index.reshape(-1), size).mean(axis=0)
    return jnp.exp(-jax.scipy.special.xlogy(p, p).sum())


def codebook_distance(z: jax.Array, z_q: jax.Array) -> jax.Array:
    """(6), the mean over all elements."""
    return jnp.mean((jax.lax.stop_gradient(z) - z_q) ** 2)


def finite_scalars(z: jax.Array, levels: Sequence[int]) -> jax.Array:
    """(7) of ``z [..., D]`` with its gradient passed straight through the rounding: ``[..., D]`` in [-1, 1]."""
    many = jnp.asarray(levels, z.dtype)
    half = (many - 1) * (1 - 1e-3) / 2
    offset = jnp.where(many % 2 == 1, 0.0, 0.5)
    bounded = half * jnp.tanh(z + jnp.tan(offset / half)) - offset
    return straight_through(bounded, jnp.round(bounded)) / (many // 2)


def number_of_levels(z_q: jax.Array, levels: Sequence[int]) -> jax.Array:
    """The code int32 ``[...]`` of what :func:`finite_scalars` makes, ``[..., D]``."""
    many = jnp.asarray(levels, z_q.dtype)
    digits = jnp.round(z_q * (many // 2)).astype(jnp.int32) + jnp.asarray(levels) // 2
    return (digits * _bases(levels)).sum(axis=-1).astype(jnp.int32)


def levels_of_number(index: jax.Array, levels: Sequence[int]) -> jax.Array:
    """The inverse: ``[..., D]`` of codes int32 ``[...]``."""
    digits = (index[..., None] // _bases(levels)) % jnp.asarray(levels)
    half = jnp.asarray(levels) // 2
    return (digits - half).astype(jnp.float32) / half


def _bases(levels: Sequence[int]) -> jax.Array:
    return jnp.asarray([math.prod(levels[:i]) for i in range(len(levels))], jnp.int32)


def signs(z: jax.Array) -> jax.Array:
    """(8), without a gradient; 0 is below."""
    return jax.lax.stop_gradient(jnp.where(z > 0, 1.0, -1.0).astype(z.dtype))


def number_of_signs(z: jax.Array) -> jax.Array:
    """(8): int32 ``[...]`` of ``z [..., D]``."""
    return ((z > 0) * (1 << jnp.arange(z.shape[-1]))).sum(axis=-1).astype(jnp.int32)


def signs_of_number(index: jax.Array, width: int) -> jax.Array:
    """The inverse: ``[..., width]`` in {-1, 1}."""
    return (2 * ((index[..., None] >> jnp.arange(width)) & 1) - 1).astype(jnp.float32)


def sign_entropies(z: jax.Array, *, sharpness: float) -> tuple[jax.Array, jax.Array]:
    """(9) of ``z [..., D]`` with ``t = sharpness``, nats: that of each, on average, and that of all together.

    It takes memory for every output and every one of the ``2^D`` codes.
    """
    logits = 4 * sharpness * z.reshape(-1, z.shape[-1])
    p = jax.nn.sigmoid(logits)
    each = (jax.nn.softplus(logits) - p * logits).sum(axis=-1)
    every = signs_of_number(jnp.arange(1 << z.shape[-1]), z.shape[-1])
    together = jax.nn.softmax(logits @ every.T / 2).mean(axis=0)
    return each.mean(), -jax.scipy.special.xlogy(together, together).sum()
