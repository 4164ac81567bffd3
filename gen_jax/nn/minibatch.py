"""Layers by which examples are seen beside each other: minibatch discrimination and virtual batch normalisation.

Salimans et al. 2016, "Improved techniques for training GANs" (arXiv:1606.03498). With features f_i of N examples, a
tensor T that makes of each B rows M_ib of C numbers, and norms that sum magnitudes,

    o_ib = sum over j other than i of exp(-||M_ib - M_jb||)                                               (1)

says how near the others are: N - 1 where all examples are the same, 0 where they are far apart. With mean m and mean
square s, over positions and a fixed reference batch of n examples, and m_i, s_i, those of an example alone,

    mean_i = (n m + m_i) / (n + 1),   square_i = (n s + s_i) / (n + 1)                                    (2)
    y_i = scale (x_i - mean_i) / sqrt(square_i - mean_i^2 + epsilon) + shift                              (3)

so that no example depends on those that it is drawn with; the references are normalised by their own m and s.
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


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square of each example over its positions, ``[N, 1, ..., width]``, float32."""
    wide, positions = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
    return wide.mean(axis=positions, keepdims=True), jnp.square(wide).mean(axis=positions, keepdims=True)
