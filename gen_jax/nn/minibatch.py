"""Layers by which examples are seen beside each other: minibatch discrimination, virtual batch normalisation, and the
deviation within a minibatch.

Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498). With features f_i of N examples, a
tensor T that makes of each B rows M_ib of C numbers, and norms that sum magnitudes,

    o_ib = sum over j other than i of exp(-||M_ib - M_jb||)                                               (1)

says how near the others are: N - 1 where all examples are the same, 0 where they are far apart. With mean m and mean
square s, over positions and a fixed reference batch of n examples, and m_i, s_i, those of an example alone,

    mean_i = (n m + m_i) / (n + 1),   square_i = (n s + s_i) / (n + 1)                                    (2)
    y_i = scale (x_i - mean_i) / sqrt(square_i - mean_i^2 + epsilon) + shift                              (3)

so that no example depends on those that it is drawn with; the references are normalised by their own m and s.

Karras et al. 2018, "Progressive growing of GANs" (arXiv:1710.10196): a plane that holds how much images differ from
those of their group, the mean over pixels and channels of

    sqrt(variance over the group + 1e-8)                                                                  (4)
"""

import jax
import jax.numpy as jnp
from flax import nnx


class MinibatchDiscrimination(nnx.Module):
    """``f [N, inputs] -> [N, inputs + kernels]``: the features, and behind them (1)."""

    def __init__(self, inputs: int, kernels: int, width: int, *, rngs: nnx.Rngs):
        self.kernels = kernels
        self.tensor = nnx.Linear(inputs, kernels * width, use_bias=False, rngs=rngs)

    def __call__(self, f: jax.Array) -> jax.Array:
        """See the class."""
        rows = self.tensor(f).reshape(len(f), self.kernels, -1)
        distances = jnp.abs(rows[:, None] - rows).sum(axis=-1)  # [N, N, B]
        others = ~jnp.eye(len(f), dtype=bool)[..., None]
        return jnp.concatenate([f, jnp.exp(-distances).sum(axis=1, where=others)], axis=-1)


class VirtualBatchNorm(nnx.Module):
    """(3), of examples ``[N, ..., width]`` and references ``[n, ..., width]``, with scales that start about 1."""

    def __init__(self, width: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs):
        self.epsilon = epsilon
        self.scale = nnx.Param(1 + 0.02 * jax.random.normal(rngs.params(), (width,)))
        self.bias = nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: jax.Array, reference: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Both, normalised."""
        n = len(reference)
        own, common = _moments(x), [moment.mean(axis=0, keepdims=True) for moment in _moments(reference)]
        mixed = [(n * of_all + of_one) / (n + 1) for of_all, of_one in zip(common, own)]
        return self._normalised(x, *mixed), self._normalised(reference, *common)

    def _normalised(self, x: jax.Array, mean: jax.Array, square: jax.Array) -> jax.Array:
        # Of a single number the square less the squared mean may come out below zero by rounding.
        variance = jnp.maximum(square - jnp.square(mean), 0.0)
        y = (x - mean) * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]
        return y.astype(x.dtype)


def minibatch_deviation(x: jax.Array, group: int = 4) -> jax.Array:
    """The mean over pixels and channels of (4), ``[B, H, W, C] -> [B, H, W, 1]``, constant over an image.

    A batch that ``group`` does not divide is split in smaller groups: the largest that divide it. Image ``i`` is
    grouped with ``i + B / group`` and so on.
    """
    batch, height, width, _ = x.shape
    group = next(g for g in range(min(group, batch), 0, -1) if batch % g == 0)
    grouped = x.astype(jnp.float32).reshape(group, batch // group, -1)
    deviation = jnp.sqrt(grouped.var(axis=0) + 1e-8).mean(axis=-1)  # [B / group]
    every = jnp.broadcast_to(jnp.tile(deviation, group)[:, None, None, None], (batch, height, width, 1))
    return every.astype(x.dtype)


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square of each example over its positions, ``[N, 1, ..., width]``, float32."""
    wide, positions = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
    return wide.mean(axis=positions, keepdims=True), jnp.square(wide).mean(axis=positions, keepdims=True)
