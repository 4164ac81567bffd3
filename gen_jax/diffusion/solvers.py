"""Solvers of the probability flow: from noise to data without any new noise.

Karras et al. 2022 (arXiv:2206.00364), Heun's method; Lu et al. 2022 (arXiv:2211.01095), DPM-Solver++; Zhao et al. 2023
(arXiv:2302.04867), UniPC. With D = denoise(x_t, t), r = sigma / alpha and l = -log r, the flow has two linear forms:

(1) d(x / alpha) / dr = (x / alpha - D) / r,  solved by Euler's rule it is DDIM
(2) x_s = sigma_s / sigma_t x_t + alpha_s int_0^h exp(u - h) D(u) du,  h = l_s - l_t

(1) is EDM's for any process. (2) is exact but for D along the step, which the DPM solvers and UniPC take as a
polynomial in l through the values that they have. Orders: ``dpm_solver_1`` and Euler's rule 1; ``heun``,
``dpm_solver_2m``, ``dpm_solver_2s`` and the midpoint rule 2; ``unipc`` of order p has p + 1; Runge and Kutta's rule 4.

Like :mod:`gen_jax.diffusion.samplers`, all are functions of (process, denoise, times, key, x), most of which ignore
the key, with ``times [S + 1]`` decreasing. They may end at any time; at one without noise the last step is D itself. A
start without any signal is infinitely far in r and l: ``heun``, and ``unipc`` of order 3 or with ``bh1``, need some
there.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gen_jax.diffusion.process import Denoise, Process
from gen_jax.diffusion.samplers import Times

Slope = Callable[[jax.Array, jax.Array], jax.Array]  # x, t -> dx / dt
Scale = Callable[[jax.Array], jax.Array]  # -h -> B(h) of UniPC
Rule = Callable[[Slope, jax.Array, jax.Array, jax.Array], jax.Array]  # slope, x, t, s -> x at s


def heun(
    process: Process,
    denoise: Denoise,
    times: Times,
    key: jax.Array,
    x: jax.Array,
    *,
    churn: float = 0.0,
    churn_from: float = 0.0,
    churn_to: float = math.inf,
    churn_noise: float = 1.0,
) -> jax.Array:
    """The trapezoidal rule on (1), with 2 S - 1 evaluations, or 2 S where the end has noise.

    With ``churn`` every step first raises r by a share of ``min(churn / S, sqrt 2 - 1)``, where r is between
    ``churn_from`` and ``churn_to``, with noise of standard deviation ``churn_noise``.

    Raises:
      ValueError: if churn is asked of a process whose times do not follow from r.
    """
    times, count = jnp.asarray(times), len(times) - 1
    if churn and process.time is None:
        raise ValueError("churn needs a process of continuous time, this one is a chain; set churn=0")
    share = min(churn / count, math.sqrt(2) - 1)

    def churned(y: jax.Array, r: jax.Array, t: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        if not churn or process.time is None:
            return y, r, t
        raised = jnp.where((churn_from <= r) & (r <= churn_to), r * (1 + share), r)
        noise = churn_noise * jax.random.normal(jax.random.fold_in(key, i), y.shape, y.dtype)
        added = jnp.sqrt((raised - r) * (raised + r))  # a difference of squares may round to less than 0
        return y + added * noise, raised, process.time(raised)

    def step(x: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, s, i = now
        y, r, t = churned(x / process.alpha(t), _ratio(process, t), t, i)
        slope = (y - _at(denoise, process.alpha(t) * y, t)) / r
        alpha, end = process.alpha(s), _ratio(process, s)
        there = y + (end - r) * slope

        def corrected() -> jax.Array:
            return y + (end - r) * 0.5 * (slope + (there - _at(denoise, alpha * there, s)) / end)

        return alpha * jax.lax.cond(end > 0, corrected, lambda: there), None

    return jax.lax.scan(step, x, (times[:-1], times[1:], jnp.arange(count)))[0]


def dpm_solver_1(process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
    """(2) with D constant over a step, which is DDIM; one evaluation a step."""
    times = jnp.asarray(times)

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return _exponential(process, x, *pair, _at(denoise, x, pair[0])), None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]


def dpm_solver_2m(process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
    """(2) with D on the line through this and the last step's value; one evaluation a step.

    The first step, and one into the data, where l is infinite, are of first order.
    """
    times = jnp.asarray(times)
    first = _at(denoise, x, times[0])
    x = _exponential(process, x, times[0], times[1], first)
    Carry = tuple[jax.Array, jax.Array]

    def step(carry: Carry, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Carry, None]:
        x, before = carry
        u, t, s = now
        here = _at(denoise, x, t)
        noisy = process.sigma(s) > 0
        growth = _length(process, t, jnp.where(noisy, s, t)) / _length(process, u, t)
        middle = here + jnp.where(noisy, 0.5 * growth, 0.0) * (here - before)
        return (_exponential(process, x, t, s, middle), here), None

    return jax.lax.scan(step, (x, first), (times[:-2], times[1:-1], times[2:]))[0][0]


def dpm_solver_2s(process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
    """(2) with D from the middle of the step in l; two evaluations a step, one into the data.

    Raises:
      ValueError: of a chain, which has no times between its times.
    """
    if process.time is None:
        raise ValueError("a middle in log(alpha / sigma) needs a process of continuous time; take dpm_solver_2m")
    times, time = jnp.asarray(times), process.time

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, s = pair
        here = _at(denoise, x, t)

        def halfway() -> jax.Array:
            m = time(jnp.sqrt(_ratio(process, t) * _ratio(process, s)))
            return _at(denoise, _exponential(process, x, t, m, here), m)

        return _exponential(process, x, t, s, jax.lax.cond(process.sigma(s) > 0, halfway, lambda: here)), None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]


def unipc(
    process: Process,
    denoise: Denoise,
    times: Times,
    key: jax.Array,
    x: jax.Array,
    *,
    order: int = 2,
    scale: Scale = jnp.expm1,
) -> jax.Array:
    """Predictor and corrector on (2): D is a polynomial through ``order`` values, then also through the new one.

    One evaluation a step: a step's corrector uses the value that the next step needs anyway, and only an end with noise
    costs one more. The first steps have the order that their history allows, a step into the data has the first. Where
    steps are much longer than 1 in l, as the last of a few are, the polynomial of order 3 is carried far beyond its
    values, and order 2 is better.

    Args:
      process: the path.
      denoise: D.
      times: ``[S + 1]``, decreasing.
      key: not used.
      x: ``[B, ...]`` at ``times[0]``.
      order: p, at least 1.
      scale: the paper's B, which a single difference is multiplied by: :data:`bh2`, or :func:`bh1`.
    """
    if order < 1:
        raise ValueError(f"expected an order of at least 1, got {order}")
    times, count = jnp.asarray(times), len(times) - 1
    Carry = tuple[jax.Array, tuple[jax.Array, ...]]  # x, and D at its time and before, newest first

    def step(carry: Carry, past: jax.Array, s: jax.Array) -> Carry:
        x, values = carry
        x, new = _unipc_step(process, denoise, past, s, x, values, scale)
        return x, (new, *values)[:order]

    carry: Carry = x, (_at(denoise, x, times[0]),)
    begun = min(order - 1, count)
    for i in range(begun):
        carry = step(carry, times[i::-1], times[i + 1])
    rest = jnp.arange(begun, count)
    if not rest.size:
        return carry[0]
    return jax.lax.scan(lambda c, i: (step(c, times[i - jnp.arange(order)], times[i + 1]), None), carry, rest)[0][0]


bh2 = jnp.expm1  # exact of a constant difference


def bh1(z: jax.Array) -> jax.Array:
    """``z``: of the same order as ``bh2``."""
    return z


def flow(
    process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array, *, rule: Rule | None = None
) -> jax.Array:
    """The probability flow in time itself by a rule of fixed steps, Euler's if none is given.

    Straight paths are made for it. A rule that looks at the end of its step needs noise there.
    """
    times = jnp.asarray(times)

    def slope(x: jax.Array, t: jax.Array) -> jax.Array:
        return process.flow(denoise, x, t)

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return (rule or euler_rule)(slope, x, *pair), None

    return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]


def euler_rule(slope: Slope, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Order 1, one evaluation."""
    return x + (s - t) * slope(x, t)


def midpoint_rule(slope: Slope, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Order 2, two evaluations."""
    return x + (s - t) * slope(x + 0.5 * (s - t) * slope(x, t), 0.5 * (s + t))


def runge_kutta_rule(slope: Slope, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Order 4, four evaluations, the last at the step's end."""
    h, m = s - t, 0.5 * (s + t)
    a = slope(x, t)
    b = slope(x + 0.5 * h * a, m)
    c = slope(x + 0.5 * h * b, m)
    return x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c, s))


def _unipc_step(
    process: Process,
    denoise: Denoise,
    past: jax.Array,
    s: jax.Array,
    x: jax.Array,
    values: tuple[jax.Array, ...],
    scale: Scale,
) -> tuple[jax.Array, jax.Array]:
    """``x`` and D at ``s``; ``past`` are the times of ``values``, of which the first is that of ``x``."""
    t, noisy = past[0], process.sigma(s) > 0
    h = _length(process, t, jnp.where(noisy, s, past[-1] + 1))  # into the data: of anything, it is not used
    places = jnp.stack([_length(process, t, time) for time in past[1:]] + [h]) / h
    differences = [(value - values[0]) / place for value, place in zip(values[1:], places, strict=False)]
    base = _exponential(process, x, t, s, values[0])

    def moved(weights: jax.Array, differences: list[jax.Array]) -> jax.Array:
        total = sum((w * d for w, d in zip(weights, differences, strict=True)), start=jnp.zeros_like(x))
        return base - process.alpha(s) * jnp.expm1(-h) * total

    def predicted() -> jax.Array:
        return moved(_unipc_weights(h, places[:-1], scale), differences) if differences else base

    def corrected() -> tuple[jax.Array, jax.Array]:
        new = _at(denoise, predicted(), s)
        return moved(_unipc_weights(h, places, scale), [*differences, new - values[0]]), new

    return jax.lax.cond(noisy, corrected, lambda: (base, base))


def _unipc_weights(h: jax.Array, places: jax.Array, scale: Scale) -> jax.Array:
    """Weights of the differences at ``places``, in units of ``h``, that make (2) exact for polynomials in l.

    A single one gets 1/2 of B, as in the paper: right to the order that is left, and simpler. From two on B cancels.
    """
    order = places.shape[0]
    if order == 1:
        return jnp.atleast_1d(0.5 * scale(-h) / jnp.expm1(-h))
    powers = jnp.stack([places**i for i in range(order)])
    moments = [_phi(i, -h) * math.factorial(i) for i in range(1, order + 1)]
    return jnp.linalg.solve(powers, jnp.stack(moments) / jnp.expm1(-h))


def _phi(order: int, z: jax.Array) -> jax.Array:
    """``sum_{j >= 1} z^j / (j + order)!``: the series near 0, elsewhere the recursion, which there loses all digits."""
    series = sum(z**j * (1 / math.factorial(j + order)) for j in range(1, 14))  # as an integer it would pass 2^31
    value = jnp.expm1(z) / z - 1
    for i in range(1, order):
        value = value / z - 1 / math.factorial(i + 1)
    return jnp.where(jnp.abs(z) < 1.5, series, value)


def _exponential(process: Process, x: jax.Array, t: jax.Array, s: jax.Array, x_0: jax.Array) -> jax.Array:
    """(2) for a constant D ``x_0``."""
    kept = process.sigma(s) / process.sigma(t)
    return kept * x + (process.alpha(s) - kept * process.alpha(t)) * x_0  # = alpha_s (1 - exp(-h)), also into the data


def _ratio(process: Process, t: jax.Array) -> jax.Array:
    return process.sigma(t) / process.alpha(t)


def _length(process: Process, t: jax.Array, s: jax.Array) -> jax.Array:
    """H of (2)."""
    return jnp.log(_ratio(process, t)) - jnp.log(_ratio(process, s))


def _at(denoise: Denoise, x: jax.Array, t: jax.Array) -> jax.Array:
    return denoise(x, jnp.broadcast_to(t, x.shape[:1]))
