"""Consistency models: from any noise to the data in one step.

Song, Dhariwal, Chen and Sutskever 2023, "Consistency models" (arXiv:2303.01469); Song and Dhariwal 2024, "Improved
techniques for training consistency models" (arXiv:2310.14189). On the path x_t = x_0 + t eps of EDM, with e the least
noise, d the spread of the data and D pixels:

(1) f(x, t) = skip x + out F(in x, noise),  skip = d^2 / ((t - e)^2 + d^2),  out = d (t - e) / sqrt(t^2 + d^2)
(2) in = 1 / sqrt(t^2 + d^2),  noise = log(t) / 4;  f(x, e) = x whatever F is
(3) L = E h(f(x_t, t) - f'(x_s, s)) / (t - s),  h(a) = sqrt(|a|^2 + c^2) - c,  c = 0.00054 sqrt(D)
(4) x_s = x_0 + s eps in training;  a step of Heun's rule from x_t with a teacher's denoiser in distillation
(5) N + 1 noises e .. 80, evenly spaced in t^(1/7);  N doubles from 10 to 1280 in training
(6) t > s are neighbours in (5), of which s is drawn as log t ~ N(-1.1, 2^2) would fall between them
(7) x = f(80 z, 80), and for each later noise  x = f(x + sqrt(t^2 - e^2) z, t)

f' is the student as it is, whose gradient is not taken, or the student's average. A teacher is a player who never
moves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from gen_jax.checks import Count, Positive, Real, in_order, plain
from gen_jax.diffusion import training
from gen_jax.diffusion.process import Denoise, against
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.models.diffusion import Diffusion, as_denoiser
from gen_jax.models.edm import NOISE_SCALE, EDMConfig
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

RHO = 7.0

Target = Callable[[Params, Buffers, Any], tuple[Params, Buffers]]  # who f' is, of all players


def itself(params: Params, buffers: Buffers, ema: Any) -> tuple[Params, Buffers]:
    """The student as it is, held fixed."""
    return jax.lax.stop_gradient(params), buffers


def average(params: Params, buffers: Buffers, ema: Any) -> tuple[Params, Buffers]:
    """The student's average."""
    return ema["params"], ema["buffers"]


@dataclass(frozen=True)
class Consistency:
    """A game in which one player moves, ``student``; with a teacher, a second who does not, ``teacher``."""

    shape: tuple[int, int, int]
    classes: int
    network: Network  # F: in x [B, H, W, C], noise [B], class or None -> [B, H, W, C]
    noise_scale: float  # what that of (2) is multiplied by, as a teacher's
    teacher: Diffusion | None  # of EDM's path
    target: Target
    data_spread: float
    least_noise: float
    largest_noise: float
    noise_mean: float
    noise_deviation: float
    intervals: tuple[int, int]  # N of (5), first and last
    doubling_every: int  # steps
    later_noises: tuple[float, ...]  # of (7)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (3)."""
        return (Turn("student", self.loss),)

    makes: ClassVar[str] = "image"

    @property
    def begins(self) -> tuple[str, ...]:
        """The teacher, where there is one."""
        return () if self.teacher is None else ("teacher",)

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One, and one for each later noise."""
        return 1 + len(self.later_noises)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The student, and a teacher: a run that distils begins both with the network of a trained one."""
        keys = jax.random.split(key)
        params, buffers = self.network.init(keys[0])
        if self.teacher is None:
            return {"student": params}, {"student": buffers}
        taught, carried = self.teacher.init(keys[1], batch)
        return {"student": params, "teacher": taught["denoiser"]}, {"student": buffers, "teacher": carried["denoiser"]}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: jax.Array, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(3), a mean over the batch of what is per image."""
        keys = jax.random.split(key, 3)
        x_0, label = batch["image"], batch["label"] if self.classes else None
        t, s = self.neighbours(training.spread(keys[0], x_0.shape[0]), step)
        noise = jax.random.normal(keys[1], x_0.shape)
        x_t = x_0 + against(t, x_0) * noise
        x_s = x_0 + against(s, x_0) * noise
        if self.teacher is not None:
            x_s = heun_step(self._taught(params, buffers, label), x_t, t, s)
        options: dict[str, Any] = {"key": keys[2], "train": True}  # the same dropout on both sides
        near, carried = self._map(params, buffers, x_t, t, label, **options)
        far, _ = self._map(*self.target(params, buffers, ema), x_s, s, label, **options)
        c = 0.00054 * math.sqrt(x_0[0].size)
        distance = jnp.sqrt(jnp.sum((near - far) ** 2, axis=(1, 2, 3)) + c**2) - c
        intervals = self.interval_count(step)
        return jnp.mean(distance / (t - s)), Aux({"intervals": intervals}, {"student": carried})

    def interval_count(self, step: jax.Array | int) -> jax.Array:
        """N of (5) at a step of training."""
        first, last = self.intervals
        doubled = first * 2.0 ** (jnp.asarray(step) // self.doubling_every).astype(jnp.float32)
        return jnp.minimum(doubled, last)

    def neighbours(self, u: jax.Array, step: jax.Array | int) -> tuple[jax.Array, jax.Array]:
        """``t`` and ``s`` of (6), each ``[B]``, from numbers ``u [B]`` uniform in [0, 1)."""
        ends = jnp.array([self.least_noise, self.largest_noise])
        low, high = ndtr((jnp.log(ends) - self.noise_mean) / self.noise_deviation)
        drawn = jnp.exp(self.noise_mean + self.noise_deviation * ndtri(low + (high - low) * u))
        least, largest = ends ** (1 / RHO)
        count = self.interval_count(step)
        index = jnp.clip(jnp.floor((drawn ** (1 / RHO) - least) / (largest - least) * count), 0, count - 1)
        t, s = ((least + (index + up) / count * (largest - least)) ** RHO for up in (1, 0))
        return t, s

    def map(
        self, params: Params, buffers: Buffers, x: jax.Array, t: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """F of (1) at ``x [B, H, W, C]`` and noises ``t [B]``: the data at the other end of the flow."""
        return self._map(params, buffers, x, t, label)[0]

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]`` by (7); with classes, of those of ``label [n]``."""
        keys = jax.random.split(key, 2 + len(self.later_noises))
        x = jnp.zeros((n, *self.shape))
        for key, t in zip(keys[1:], (self.largest_noise, *self.later_noises)):
            spread = t if t == self.largest_noise else math.sqrt(t**2 - self.least_noise**2)
            x = x + spread * jax.random.normal(key, x.shape)
            x = self.map(params, buffers, x, jnp.full(n, t), label=label)
        return jnp.clip(x, -1.0, 1.0)

    def _map(
        self, params: Params, buffers: Buffers, x: jax.Array, t: jax.Array, label: jax.Array | None, **options: Any
    ) -> tuple[jax.Array, Tree]:
        d, beyond = self.data_spread, t - self.least_noise
        spread = jnp.hypot(t, d)
        seen, told = against(1 / spread, x) * x, self.noise_scale / 4 * jnp.log(t)
        raw, carried = self.network.apply(params["student"], buffers["student"], seen, told, label, **options)
        skip, out = d**2 / (beyond**2 + d**2), d * beyond / spread
        return against(skip, x) * x + against(out, x) * raw, carried

    def _taught(self, params: Params, buffers: Buffers, label: jax.Array | None) -> Denoise:
        assert self.teacher is not None
        return self.teacher.denoiser(*as_denoiser("teacher", params, buffers), label)


def heun_step(denoise: Denoise, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """From noises ``t [B]`` to ``s [B]`` along the flow of x_0 + t eps."""
    step, upper, lower = (against(a, x) for a in (s - t, t, s))
    slope = (x - denoise(x, t)) / upper
    there = x + step * slope
    return x + step * 0.5 * (slope + (there - denoise(there, s)) / lower)


@plain
class ConsistencyConfig:
    """A consistency model as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    task: Literal["training", "distillation"] = "training"
    """Pairs of noises by the data themselves, or by a trained EDM of the same network, the run's starting state."""
    target: Literal["itself", "average"] = "itself"
    """Whom the student agrees with: with itself, held fixed, or with its average."""
    data_spread: Positive = 0.5
    """Standard deviation of the data that the network's input and output are made for."""
    least_noise: Positive = 0.002
    """Noise that is taken for none."""
    largest_noise: Positive = 80.0
    """Noise that is taken for nothing else."""
    noise_mean: Real = -1.1
    """Mean of the logarithm of the noise in training."""
    noise_deviation: Positive = 2.0
    """Its standard deviation."""
    first_intervals: Count = 10
    """Intervals between noises when training begins."""
    last_intervals: Count = 1280
    """The most of them."""
    doubling_every: Count = 1000
    """Steps after which the intervals double."""
    later_noises: tuple[Positive, ...] = ()
    """Noises added to the sample and removed again, decreasing, each one evaluation more."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""

    def __post_init__(self) -> None:
        in_order(self, "least_noise", "largest_noise")
        if self.first_intervals > self.last_intervals:
            raise ValueError(
                f"expected first_intervals of at most last_intervals, got {self.first_intervals}, {self.last_intervals}"
            )
        if any(not self.least_noise <= t < self.largest_noise for t in self.later_noises):
            raise ValueError(
                f"expected later_noises between {self.least_noise} and {self.largest_noise}, got {self.later_noises}"
            )

    def build(self, fields: Fields) -> Consistency:
        """The game on images of any size.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        noise_scale = self.net.among(NOISE_SCALE)
        net = self.net.build(shape, classes)
        return Consistency(
            shape=shape,
            classes=classes,
            network=net,
            noise_scale=noise_scale,
            teacher=self.teacher().build(fields) if self.task == "distillation" else None,
            target=average if self.target == "average" else itself,
            data_spread=self.data_spread,
            least_noise=self.least_noise,
            largest_noise=self.largest_noise,
            noise_mean=self.noise_mean,
            noise_deviation=self.noise_deviation,
            intervals=(self.first_intervals, self.last_intervals),
            doubling_every=self.doubling_every,
            later_noises=tuple(self.later_noises),
        )

    def teacher(self) -> EDMConfig:
        """The configuration whose trained network distillation starts from."""
        return EDMConfig(
            net=self.net,
            data_spread=self.data_spread,
            least_noise=self.least_noise,
            largest_noise=self.largest_noise,
            conditional=self.conditional,
        )


REFERENCE = ConsistencyConfig(
    net=Denoiser(channels=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), dropout=0.3, network="ncsn++ smooth"),
    doubling_every=50_000,
)
"""CIFAR-10, improved consistency training on EDM's NCSN++, 56,395,523 parameters: 400,000 steps of batches of 1024,
Adam 1e-4, averages that keep 0.99993 a step."""

SMALL = ConsistencyConfig(net=Denoiser(blocks=1, patch=2), last_intervals=160, doubling_every=2000)
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
