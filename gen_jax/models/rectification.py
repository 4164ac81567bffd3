"""Rectification, or reflow: a flow trained on the pairs that another flow makes of noise.

Liu, Gong and Liu 2023, "Flow straight and fast: learning to generate and transfer data with rectified flow"
(arXiv:2209.03003). With a trained flow of :mod:`gen_jax.models.flow_matching` as the teacher:

(1) x_0 = teacher(eps),  its sampler from noise eps
(2) L = E_t E_eps mean over pixels (f((1 - t) x_0 + t eps, t) - (eps - x_0))^2
(3) S = E_t E_eps mean over pixels (f(x_t, t) - (eps - x_0))^2 along f's own pairs: 0 of a straight flow

Since (1) is a map, its pairs do not cross, and few steps of the student's sampler go nearly as far as many. The teacher
is a player who never moves; its pairs are made as they are needed, and of the data only the labels are used.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax

from gen_jax.checks import Evaluations, plain
from gen_jax.diffusion import training
from gen_jax.fields import Fields
from gen_jax.models.diffusion import Diffusion, as_denoiser, twins
from gen_jax.models.flow_matching import FlowMatchingConfig
from gen_jax.protocol import Aux, Batch, Buffers, Params, Tree, Turn


@dataclass(frozen=True)
class Rectification:
    """A game of ``student`` and ``teacher``, of whom the student moves."""

    teacher: Diffusion  # of the straight path; its guidance is rectified with it
    student: Diffusion  # the same with the student's sampler, and without guidance

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
        """One turn: descend (2)."""
        return (Turn("student", self.loss),)

    makes: ClassVar[str] = "image"
    begins: ClassVar[tuple[str, ...]] = ("teacher",)  # players that are trained before

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """Those of the student's sampler."""
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
        """(2)."""
        keys = jax.random.split(key)
        noise, label = jax.random.normal(keys[0], batch["image"].shape), self.teacher.label(batch)
        pairs = transported(self.teacher, *as_denoiser("teacher", params, buffers), noise, label), noise
        errors, carried = _errors(self.student, *self.learned(params, buffers), *pairs, keys[1], label, train=True)
        return errors.mean(), Aux({}, {"student": carried})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images by the student."""
        return self.student.sample(*self.learned(params, buffers), key, n, label=label)


@plain
class RectificationConfig:
    """A student and its teacher as plain data."""

    teacher: FlowMatchingConfig = FlowMatchingConfig(rule="midpoint", sampling_steps=10)
    """The trained flow; as many steps as it has here make every pair."""
    sampling_steps: Evaluations = 1
    """Steps of the student's sampler, by Euler's rule."""

    def build(self, fields: Fields) -> Rectification:
        """The game on images of ``shape`` (H, W, C).

        Raises:
          ValueError: if the teacher cannot be built, or a number is out of range.
        """
        own = replace(self.teacher, rule="euler", sampling_steps=self.sampling_steps, guidance=1.0)
        return Rectification(self.teacher.build(fields), own.build(fields))


def transported(
    model: Diffusion, params: Params, buffers: Buffers, noise: jax.Array, label: jax.Array | None = None
) -> jax.Array:
    """(1) of ``noise [B, H, W, C]``; not clipped."""
    denoise = model.denoiser(params, buffers, label)
    return model.sampler(model.process, denoise, model.times, jax.random.key(0), noise)


def curvature(
    model: Diffusion, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
) -> jax.Array:
    """(3), over ``n`` of a flow's own pairs; with ``label [n]``, of its classes."""
    keys = jax.random.split(key)
    noise = jax.random.normal(keys[0], (n, *model.shape))
    x_0 = transported(model, params, buffers, noise, label)
    return _errors(model, params, buffers, x_0, noise, keys[1], label)[0].mean()


def _errors(
    model: Diffusion,
    params: Params,
    buffers: Buffers,
    x_0: jax.Array,
    noise: jax.Array,
    key: jax.Array,
    label: jax.Array | None,
    **options: Any,
) -> tuple[jax.Array, Tree]:
    """Those that (2) and (3) are means of, ``[B, H, W, C]``, and the network's buffers."""
    keys = jax.random.split(key)
    t = model.law(training.spread(keys[0], len(x_0)))
    x_t = model.process.diffuse(x_0, noise, t)
    predicted, carried = model.predict(params, buffers, x_t, t, label, key=keys[1], **options)
    return (predicted - model.prediction.target(model.process, x_0, noise, t)) ** 2, carried
