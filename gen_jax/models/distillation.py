"""Progressive distillation: a student who goes in one step where its teacher goes in two.

Salimans and Ho 2022, "Progressive distillation for fast sampling of diffusion models" (arXiv:2202.00512). The teacher
visits times t_0 > m_0 > t_1 > m_1 > ... > t_N, the student t_0 > t_1 > ... > t_N. With s the student's next after t:

(1) x_t = alpha_t x_0 + sigma_t eps
(2) x_s = two steps of DDIM by the teacher, t -> m -> s
(3) x~ = (x_s - sigma_s / sigma_t x_t) / (alpha_s - sigma_s / sigma_t alpha_t):  what takes one step of DDIM to x_s
(4) L = E_t w_t E_eps mean over pixels (f(x_t, t) - y~)^2,  y~ what the network predicts where the data are x~
(5) w_t = max(SNR, 1) in x_0

The teacher is a player who never moves; a student that has learned is the next teacher, with half the times.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gen_jax.checks import plain
from gen_jax.diffusion import samplers, training
from gen_jax.diffusion.process import against
from gen_jax.fields import Fields
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.diffusion import Diffusion, as_denoiser, twins
from gen_jax.protocol import Aux, Batch, Buffers, Params, Turn


@dataclass(frozen=True)
class Distillation:
    """A game of ``student`` and ``teacher``, of whom the student moves."""

    teacher: Diffusion  # with the teacher's times, of an even number of steps; its guidance is distilled with it

    def __post_init__(self) -> None:
        if len(self.teacher.times) % 2 == 0:
            raise ValueError(f"expected a teacher of an even number of steps, got {len(self.teacher.times) - 1}")

    @property
    def student(self) -> Diffusion:
        """The student as a model of its own: DDIM with half of the teacher's steps."""
        times = self.teacher.times[::2]
        return replace(self.teacher, sampler=samplers.ddim, times=times, evaluations=len(times) - 1, guidance=1.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, C."""
        return self.teacher.shape

    @property
    def classes(self) -> int:
        """0: none."""
        return self.teacher.classes

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (4)."""
        return (Turn("student", self.loss),)

    makes: ClassVar[str] = "image"
    begins: ClassVar[tuple[str, ...]] = ("teacher",)  # players that are trained before

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One per step of the student."""
        return self.student.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """An untrained teacher, and the student as its copy: a run begins both with those of a trained one."""
        return twins(*self.teacher.init(key, batch))

    def learned(self, params: Params, buffers: Buffers) -> tuple[Params, Buffers]:
        """Those of :attr:`student` as a model of its own."""
        return as_denoiser("student", params, buffers)

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(4), a mean over pixels."""
        keys = jax.random.split(key, 3)
        student, process, x_0 = self.student, self.teacher.process, batch["image"]
        label, times = self.teacher.label(batch), jnp.asarray(self.teacher.times)
        index = 2 * training.steps((len(times) - 1) // 2)(training.spread(keys[0], x_0.shape[0]))
        t, middle, s = times[index], times[index + 1], times[index + 2]
        x_t = process.diffuse(x_0, jax.random.normal(keys[1], x_0.shape), t)
        denoise = self.teacher.denoiser(*as_denoiser("teacher", params, buffers), label)
        x_m = samplers.ddim_step(process, denoise, x_t, t, middle)
        x_s = samplers.ddim_step(process, denoise, x_m, middle, s)
        (alpha, sigma), (alpha_s, sigma_s) = process.at(t, x_t), process.at(s, x_t)
        wanted = (x_s - sigma_s / sigma * x_t) / (alpha_s - sigma_s / sigma * alpha)
        target = student.prediction.target(process, wanted, process.noise(x_t, wanted, t), t)
        said, carried = student.predict(*self.learned(params, buffers), x_t, t, label, key=keys[2], train=True)
        weight = training.of_x_0(student.prediction, training.truncated_snr)(process, t)
        return jnp.mean(against(weight, x_0) * (said - target) ** 2), Aux({}, {"student": carried})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images by the student."""
        return self.student.sample(*self.learned(params, buffers), key, n, label=label)


@plain
class DistillationConfig:
    """A student and its teacher as plain data."""

    teacher: DDPMConfig = DDPMConfig(timesteps=1024, sampling_steps=8)
    """The trained model; the student has half of its ``sampling_steps``, which must be even, and its spacing."""

    def build(self, fields: Fields) -> Distillation:
        """The game on images of ``shape`` (H, W, C).

        Raises:
          ValueError: if the teacher cannot be built, has an odd number of steps, or learns its variance.
        """
        teacher = self.teacher.build(fields)
        if not isinstance(teacher, Diffusion):
            raise ValueError("expected a teacher of fixed variance, as DDIM has none; set variance='large'")
        return Distillation(teacher)
