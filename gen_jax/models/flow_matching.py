"""Rectified flow: straight lines from data to noise, and the velocity along them.

Lipman et al. 2023, "Flow matching for generative modeling" (arXiv:2210.02747); Liu, Gong and Liu 2023, "Flow straight
and fast" (arXiv:2209.03003); times in the middle of the path: Esser et al. 2024 (arXiv:2403.03206); pairs by optimal
transport: :mod:`gen_jax.diffusion.coupling`. In :class:`gen_jax.models.diffusion.Diffusion`, with the data at t = 0 and
noise at t = 1:

(1) x_t = (1 - t) x_0 + t eps
(2) L = E_t E_eps mean over pixels (f(x_t, t) - (eps - x_0))^2,  1 + E x_0^2 for a network that gives 0
(3) dx = f(x, t) dt, from 1 to 0

A second rectification is :mod:`gen_jax.models.rectification`.
"""

from functools import partial
from typing import Literal

from gen_jax.checks import Amount, Count, Evaluations, Positive, Share, plain
from gen_jax.diffusion import coupling, schedules, solvers, times, training
from gen_jax.diffusion.likelihood import flow_likelihood
from gen_jax.diffusion.precondition import counted_time
from gen_jax.diffusion.process import VELOCITY
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.models.diffusion import Diffusion
from gen_jax.networks.denoisers import Denoiser

LAWS = {"uniform": training.uniform(1e-5, 1.0), "logit_normal": training.logit_normal()}
COUPLINGS = {"independent": coupling.independent, "optimal": coupling.optimal}
RULES = {"euler": (solvers.euler_rule, 1), "midpoint": (solvers.midpoint_rule, 2)}  # and evaluations a step
# What t is multiplied by.
NOISE_SCALE = {"unet": 1000.0, "ddpm++": 999.0, "adm": 1000.0, "dit": 1000.0, "mlp": 1000.0}
LEAST = 1e-3  # time, where the likelihood begins


@plain
class FlowMatchingConfig:
    """A rectified flow as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    times: Literal["uniform", "logit_normal"] = "uniform"
    """Times of training: all alike, or more of those in the middle of the path."""
    coupling: Literal["independent", "optimal"] = "independent"
    """Pairs of images and noise in training: as drawn, or by optimal transport within the batch, without labels."""
    rule: Literal["euler", "midpoint"] = "euler"
    """Rule of the sampler: of first order, or of second with two evaluations a step."""
    sampling_steps: Evaluations = 50
    """Steps of the sampler, all of the same length."""
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
        if self.conditional and self.coupling == "optimal":
            raise ValueError(
                "expected coupling='independent' with conditional=True, got 'optimal', whose noise of one class is not "
                "normal; set one of them back"
            )

    def build(self, fields: Fields) -> Diffusion:
        """The game on images of any size, or on an array of real numbers.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        name, field = made_of(fields)
        classes = known_classes(fields, conditional=self.conditional)
        factor = self.net.among(NOISE_SCALE)
        net = self.net.build(field.shape, classes)
        rule, evaluations = RULES[self.rule]
        return Diffusion(
            shape=field.shape,
            classes=classes,
            network=net,
            process=schedules.rectified_flow(),
            inputs=counted_time(factor),
            prediction=VELOCITY,
            law=LAWS[self.times],
            weight=training.simple,
            sampler=partial(solvers.flow, rule=rule),
            times=times.even(1.0, 0.0, self.sampling_steps),
            evaluations=self.sampling_steps * evaluations,
            likelihood=flow_likelihood(
                LEAST, 1.0, probes=self.probes, tolerance=self.tolerance, level=field.kind.level
            ),
            guidance=self.guidance,
            label_dropout=self.label_dropout,
            coupling=COUPLINGS[self.coupling],
            makes=name,
            largest=field.kind.limit,
        )


REFERENCE = FlowMatchingConfig(
    net=Denoiser(channels=128, multipliers=(1, 2, 2, 2), blocks=4, attention=(16,), dropout=0.1, network="ddpm++"),
    sampling_steps=100,
    tolerance=1e-5,
)
"""CIFAR-10 on DDPM++, as in Liu et al.: 61,804,419 parameters. Adam 2e-4 after 5000 steps of warm-up, batches
of 128, gradients clipped at norm 1, flips."""

SMALL = FlowMatchingConfig(net=Denoiser(blocks=1, patch=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
