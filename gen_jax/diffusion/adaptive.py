"""The probability flow by steps that choose their own length.

Song et al. 2021 (arXiv:2011.13456), section 4.3, whose rule of order 5(4) is here that of Tsitouras 2011 (diffrax).
Every example has its own steps, so that none depends on its batch.
"""

from typing import Any

import jax

from gen_jax.diffusion.process import Denoise, Process
from gen_jax.diffusion.samplers import Times


def adaptive_flow(
    process: Process,
    denoise: Denoise,
    times: Times,
    key: jax.Array,
    x: jax.Array,
    *,
    tolerance: float = 1e-5,
    max_steps: int = 4096,
) -> jax.Array:
    """A sampler that heeds only the first and the last of its times.

    Args:
      process: the path, of continuous time.
      denoise: D.
      times: decreasing; the last must have noise.
      key: not used.
      x: ``[B, ...]`` at ``times[0]``.
      tolerance: relative and absolute, of every step; the error at the end is of its size.
      max_steps: of one example, of 6 evaluations each; more are an error.
    """

    def one(x: jax.Array) -> jax.Array:
        def slope(t: Any, x: jax.Array, _: Any) -> jax.Array:
            return process.flow(denoise, x[None], t)[0]

        import diffrax  # takes half a second, and few need it

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Tsit5(),
            times[0],
            times[-1],
            None,
            x,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=max_steps,
        )
        assert solution.ys is not None
        return solution.ys[0]

    return jax.vmap(one)(x)
