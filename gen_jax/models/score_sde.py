"""Score-based models of stochastic differential equations.

Song et al. 2021, "Score-based generative modeling through stochastic differential equations" (arXiv:2011.13456); the
weight and the times of maximum likelihood: Song et al. 2021 (arXiv:2101.09258). In
:class:`gen_jax.models.diffusion.Diffusion`, with t in [0, 1]:

(1) dx = f_t x dt + g_t dw                                   VP, sub-VP or VE
(2) L = E_t w_t E_eps mean over pixels (f(x_t, t) - eps)^2   the score is -f / sigma_t
(3) w = 1 is lambda = sigma^2 of errors in the score; w = g^2 / sigma^2 is lambda = g^2, whose L bounds the likelihood
(4) dx = (f_t x - g_t^2 score) dt + g_t dw, backwards        with Langevin corrections or without; or the flow

The paper starts VE at noise of variance M^2, here M^2 + 1: that of data of variance 1 with the noise on them.
"""

from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from gen_jax.checks import Amount, Count, Evaluations, Number, Positive, Share, in_order, plain
from gen_jax.diffusion import langevin, schedules, solvers, times, training
from gen_jax.diffusion.likelihood import flow_likelihood
from gen_jax.diffusion.precondition import Inputs, counted_time, edm_inputs, log_noise
from gen_jax.diffusion.process import EPS, Process
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.models.diffusion import Diffusion, Sampler
from gen_jax.networks.denoisers import Denoiser


class Path(NamedTuple):
    """A process, what its network sees, and the least times of training, of samplers and of the likelihood."""

    process: Process
    inputs: Inputs
    trained: float
    sampled: float
    likely: float


OBJECTIVES = ("simple", "likelihood", "importance")
# What t, and log(sigma / 2) of VE, are multiplied by: sinusoids of the first are made for a thousand steps.
NOISE_SCALE = {"unet": (999.0, 100.0), "ddpm++": (999.0, 1.0), "ncsn++": (1.0, 1.0), "mlp": (999.0, 100.0)}


@plain
class ScoreSDEConfig:
    """A score-based model as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    path: Literal["vp", "sub_vp", "ve"] = "vp"
    """How data turn into noise: with their variance kept, with less noise than that, or by noise that explodes."""
    largest_noise: Positive = 50.0
    """Standard deviation of VE's noise at time 1; as large as the largest distance between two images."""
    least_noise: Positive = 0.01
    """That at time 0, which is taken for none."""
    unit_input: bool = True
    """Give VE's network x_t at unit variance, as EDM does; the paper gives it as it is, which takes longer to learn."""
    objective: Literal["simple", "likelihood", "importance"] = "simple"
    """All errors of the noise alike, those that bound the likelihood, or the same at times that spread them evenly."""
    sampler: Literal["reverse_diffusion", "euler_maruyama", "probability_flow"] = "reverse_diffusion"
    """The reverse SDE by one of two rules, or Heun's rule on the probability flow, of two evaluations a step."""
    corrections: Number = 0
    """Langevin steps before every step of the reverse SDE, one evaluation each."""
    ratio: Positive = 0.16
    """Signal-to-noise ratio of a Langevin step."""
    sampling_steps: Evaluations = 200
    """Steps of the sampler."""
    probes: Count = 1
    """Random probes of the likelihood's divergence per image; with two or more its standard error is known."""
    tolerance: Positive = 1e-4
    """Relative and absolute error of a step of the likelihood's solver."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""
    guidance: Amount = 1.0
    """Scale of classifier-free guidance: 1 is none, above 1 is sharper and less varied."""
    label_dropout: Share = 0.1
    """Share of labels hidden in training, so that there is an unconditional model to guide by."""

    def __post_init__(self) -> None:
        in_order(self, "least_noise", "largest_noise")

    def build(self, fields: Fields) -> Diffusion:
        """The game on images of any size, or on an array of real numbers.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        name, field = made_of(fields)
        classes = known_classes(fields, conditional=self.conditional)
        self.net.among(NOISE_SCALE)
        net = self.net.build(field.shape, classes)
        path = self._path()
        law, weight = self._objective(path)
        sampler, when, evaluations = self._sampler(path)
        return Diffusion(
            shape=field.shape,
            classes=classes,
            network=net,
            process=path.process,
            inputs=path.inputs,
            prediction=EPS,
            law=law,
            weight=weight,
            sampler=sampler,
            times=when,
            evaluations=evaluations,
            likelihood=flow_likelihood(
                path.likely, 1.0, probes=self.probes, tolerance=self.tolerance, level=field.kind.level
            ),
            guidance=self.guidance,
            label_dropout=self.label_dropout,
            makes=name,
            largest=field.kind.limit,
        )

    def _path(self) -> Path:
        time, noise = self.net.among(NOISE_SCALE)
        exploding, seen = schedules.ve(least=self.least_noise, most=self.largest_noise), log_noise(noise)
        if self.unit_input:
            seen = seen._replace(scale=edm_inputs().scale)
        paths = {
            "vp": Path(schedules.vp(), counted_time(time), 1e-5, 1e-3, 1e-5),
            # Its noise vanishes with the square of VP's: what is known of it in float32 ends earlier.
            "sub_vp": Path(schedules.sub_vp(), counted_time(time), 1e-4, 1e-3, 1e-3),
            "ve": Path(exploding, seen, 1e-5, 1e-5, 1e-5),
        }
        return paths[self.path]

    def _objective(self, path: Path) -> tuple[training.Law, training.Weight]:
        even = training.uniform(path.trained, 1.0)
        objectives = {
            "simple": (even, training.simple),
            "likelihood": (even, training.of_x_0(EPS, training.likelihood)),
            "importance": (
                training.even_log_snr(path.process, path.trained, 1.0),
                training.of_x_0(EPS, training.likelihood_of_even_log_snr(path.trained, 1.0)),
            ),
        }
        return objectives[self.objective]

    def _sampler(self, path: Path) -> tuple[Sampler, np.ndarray, int]:
        steps = self.sampling_steps
        if self.sampler == "probability_flow":
            return solvers.heun, times.even_log_snr(path.process, 1.0, path.sampled, steps), 2 * steps
        predictors = {"reverse_diffusion": langevin.reverse_diffusion, "euler_maruyama": langevin.euler_maruyama}
        drawn = partial(
            langevin.predictor_corrector,
            predictor=predictors[self.sampler],
            corrections=self.corrections,
            ratio=self.ratio,
        )
        return drawn, times.even(1.0, path.sampled, steps), steps * (1 + self.corrections)


REFERENCE = ScoreSDEConfig(
    net=Denoiser(channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention=(16,), dropout=0.1, network="ddpm++"),
    sampling_steps=1000,
    tolerance=1e-5,
)
"""CIFAR-10, VP in continuous time on DDPM++, 61,804,419 parameters, as sub-VP has it; Adam 2e-4 after 5000 steps of
warm-up, batches of 128, gradients clipped at norm 1, flips."""

EXPLODING = replace(
    REFERENCE,
    path="ve",
    largest_noise=100.0,
    least_noise=0.02,
    unit_input=False,
    corrections=1,
    net=replace(REFERENCE.net, network="ncsn++"),
)
"""CIFAR-10, VE on NCSN++, 62,758,787 parameters, with one Langevin correction a step: 2000 evaluations. The paper's
noises are 0.01 to 50, of images in [0, 1]; in [-1, 1] they are twice as large."""

SMALL = ScoreSDEConfig(net=Denoiser(blocks=1, patch=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
