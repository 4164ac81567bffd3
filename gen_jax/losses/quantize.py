"""Vector quantisation.

van den Oord et al. 2017, "Neural Discrete Representation Learning" (arXiv:1711.00937); codebook restarts as in
Dhariwal et al. 2020 (arXiv:2005.00341, section 3.1).

(1) k(z) = argmin_k |z - e_k|^2,  z_q = e_k(z)
(2) straight-through: forwards z_q, backwards the identity, so that dL/dz = dL/dz_q
(3) commitment: mean |z - sg(z_q)|^2
(4) codebook by moving averages (appendix A.1): N_k <- g N_k + (1 - g) n_k,  m_k <- g m_k + (1 - g) sum z,
    e_k = m_k / N_k; with g = 0 one step of Lloyd's algorithm
(5) perplexity: exp(- sum_k p_k log p_k) of the codes used in a batch
"""

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
