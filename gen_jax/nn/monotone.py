"""Learned noise schedules: increasing functions of time.

Kingma, Salimans, Poole and Ho 2021, arXiv 2107.00630 (appendix H), and their code. With gamma = -log SNR,

    linear    gamma(t) = b + |w| t                                                                             (1)
    monotone  gamma(t) = b + |w| t + |w_3| . (2 sigmoid(|w_2| (2 t - 1) + b_2) - 1) / 1024                     (2)

where w_2 and w_3 have 1024 numbers. Both start with b and w so that (1) leads from ``start`` at t = 0 to ``end`` at 1.
They compute in float32, whatever the type of their parameters.
"""

import jax
import jax.numpy as jnp
from flax import nnx


class LinearSchedule(nnx.Module):
    """(1): times ``[B]`` to gamma ``[B]``; two parameters.

    Args:
      start: gamma at t = 0, before training.
      end: gamma at t = 1, before training; above ``start``.
    """

    def __init__(self, *, start: float = -13.3, end: float = 5.0, rngs: nnx.Rngs):
        if end <= start:
            raise ValueError(f"expected a schedule that grows, got {start} to {end}; exchange start and end")
        self.bias, self.slope = nnx.Param(jnp.full((), start)), nnx.Param(jnp.full((), end - start))

    def __call__(self, t: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        bias, slope = (parameter[...].astype(jnp.float32) for parameter in (self.bias, self.slope))
        return bias + jnp.abs(slope) * t.astype(jnp.float32)


class MonotoneSchedule(nnx.Module):
    """(2): times ``[B]`` to gamma ``[B]``; 3,074 parameters.

    Args:
      start: b, gamma at t = 0 but for the last term of (2), before training.
      end: b + w, gamma at t = 1 but for that, before training; above ``start``.
      features: 1024 in (2).
    """

    def __init__(self, *, start: float = -13.3, end: float = 5.0, features: int = 1024, rngs: nnx.Rngs):
        weights = nnx.initializers.normal(0.01)
        self.linear = LinearSchedule(start=start, end=end, rngs=rngs)
        self.inner, self.outer = (nnx.Param(weights(rngs.params(), (features,))) for _ in range(2))
        self.bias = nnx.Param(jnp.zeros((features,)))

    def __call__(self, t: jax.Array, *, key: jax.Array | None = None, train: bool = False) -> jax.Array:
        """See the class."""
        inner, outer, bias = (parameter[...].astype(jnp.float32) for parameter in (self.inner, self.outer, self.bias))
        centred = 2 * t.astype(jnp.float32)[:, None] - 1
        bent = jnp.tanh((jnp.abs(inner) * centred + bias) / 2)  # 2 sigmoid(a) - 1 = tanh(a / 2)
        return self.linear(t) + (jnp.abs(outer) * bent).mean(axis=-1)
