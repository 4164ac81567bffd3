"""The log-likelihood of the probability flow.

Chen et al. 2018 (arXiv:1806.07366), Grathwohl et al. 2019 (arXiv:1810.01367), Song et al. 2021 (arXiv:2011.13456),
appendix D.

(1) log p(x_0) = log N(x_T; 0, (alpha_T^2 + sigma_T^2) I) + int_0^T div u(x_t, t) dt,  dx_t = u dt from x_0
(2) div u = E[z' (du/dx) z],  z of independent signs

(2) is exact, whatever z, where du/dx is diagonal. The equation is solved for every example by itself, by Tsitouras'
rule with steps chosen to a tolerance (diffrax), so that no example depends on its batch. For images of 256 grey levels
:func:`flow_likelihood` adds uniform noise of a level's width to the image, and the log of the width per dimension: in
expectation a lower bound on the log-probability of the flow's own law, known to the error of the probes and the solver.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax import distributions
from gen_jax.diffusion.process import Denoise, Process


class Evidence(Protocol):
    """A log-probability with what it is made of."""

    @property
    def log_prob(self) -> jax.Array:
        """Nats ``[B]``."""
        ...


class Likelihood(NamedTuple):
    """How the log-probability of 8-bit images follows from a denoiser.

    ``kind`` is what a model's ``log_prob_kind`` says, and ``evidence(process, denoise, key, x_0 [B, H, W, C])`` gives
    it, with ``x_0`` at the grey levels in [-1, 1].
    """

    kind: str
    evidence: Callable[[Process, Denoise, jax.Array, jax.Array], Evidence]


class FlowLogProb(NamedTuple):
    """All ``[B]``: nats, their standard error over the probes (0 for one probe), and what they took.

    ``evaluations`` are those of the flow, and ``tolerance`` the solver's, relative and absolute, of every step.
    """

    log_prob: jax.Array
    standard_error: jax.Array
    evaluations: jax.Array
    tolerance: jax.Array


def flow_likelihood(
    first: float, last: float, *, probes: int = 1, tolerance: float = 1e-5, level: float = distributions.LEVEL
) -> Likelihood:
    """:func:`flow_log_prob` of dequantised images, or with ``level`` 0 of real numbers."""

    def evidence(process: Process, denoise: Denoise, key: jax.Array, x_0: jax.Array) -> FlowLogProb:
        noise_key, probe_key = jax.random.split(key)
        x = distributions.dequantise(noise_key, x_0, level)
        found = flow_log_prob(
            process, denoise, probe_key, x, first=first, last=last, probes=probes, tolerance=tolerance
        )
        return found._replace(log_prob=found.log_prob + x_0[0].size * distributions.log_level(level))

    return Likelihood("estimate", evidence)


def flow_log_prob(
    process: Process,
    denoise: Denoise,
    key: jax.Array,
    x: jax.Array,
    *,
    first: float = 1e-5,
    last: float = 1.0,
    probes: int = 1,
    tolerance: float = 1e-5,
    max_steps: int = 4096,
) -> FlowLogProb:
    """(1) of ``x [B, ...]`` under the flow of ``denoise``.

    Args:
      process: the path.
      denoise: D.
      key: of the signs in (2).
      x: continuous data, taken as those at time ``first``.
      first: where the flow begins; there must be noise.
      last: T, where all is noise.
      probes: of (2).
      tolerance: relative and absolute, of every step.
      max_steps: of one example; more are an error.
    """
    zero = jnp.zeros(())
    scale = jnp.hypot(process.alpha(jnp.asarray(last)), process.sigma(jnp.asarray(last)))

    def one(key: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        signs = jax.random.rademacher(key, (probes, *x.shape), x.dtype)

        def slopes(t: Any, state: Any, _: Any) -> tuple[jax.Array, jax.Array]:
            def velocity(x: jax.Array) -> jax.Array:
                return process.flow(denoise, x[None], t)[0]

            slope, jacobian = jax.linearize(velocity, state[0])
            return slope, jax.vmap(lambda z: jnp.vdot(z, jacobian(z)))(signs)

        import diffrax  # takes half a second, and few need it

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slopes),
            diffrax.Tsit5(),
            first,
            last,
            None,
            (x, jnp.zeros(probes, x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=max_steps,
        )
        assert solution.ys is not None
        noise, divergence = (part[0] for part in solution.ys)
        prior = distributions.normal_log_prob(noise / scale, zero, zero).sum() - x.size * jnp.log(scale)
        error = divergence.std(ddof=1) / np.sqrt(probes) if probes > 1 else jnp.zeros_like(prior)
        return prior + divergence.mean(), error, 6 * solution.stats["num_steps"]

    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(x.shape[0]))
    return FlowLogProb(*jax.vmap(one)(keys, x), tolerance=jnp.full(x.shape[0], tolerance))
