"""Batch normalisation whose scale and shift belong to the class of an example.

Ioffe and Szegedy 2015 (arXiv:1502.03167); by class: Dumoulin et al. 2017 (arXiv:1610.07629), in generators Miyato and
Koyama 2018 (arXiv:1802.05637). With mean and variance of a channel over the batch, or over the past where the batch is
not to be seen,

    y = scale[label] (x - mean) / sqrt(variance + epsilon) + shift[label]                                 (1)
"""

import jax
import jax.numpy as jnp
from flax import nnx


class ClassBatchNorm(nnx.Module):
    """(1) of ``x [B, ..., width]`` and ``label [B]``; without classes one scale and shift for all.

    Args:
      width: channels.
      classes: how many, 0 for none.
      epsilon: see (1).
    """

    def __init__(self, width: int, *, classes: int = 0, epsilon: float = 1e-5, rngs: nnx.Rngs):
        # Running averages keep 0.9 of themselves per batch.
        self.norm = nnx.BatchNorm(width, momentum=0.9, epsilon=epsilon, use_scale=False, use_bias=False, rngs=rngs)
        self.scale = nnx.Param(jnp.ones((max(classes, 1), width)))
        self.bias = nnx.Param(jnp.zeros((max(classes, 1), width)))

    def __call__(self, x: jax.Array, label: jax.Array | None = None, *, train: bool) -> jax.Array:
        """See the class; ``train`` normalises by the batch."""
        rows = jnp.zeros((len(x),), jnp.int32) if self.scale.shape[0] == 1 or label is None else label
        y = self.norm(x, use_running_average=not train)  # float32 in any case
        wide = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        return (y * self.scale[...][rows].reshape(wide) + self.bias[...][rows].reshape(wide)).astype(x.dtype)
