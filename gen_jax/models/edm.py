"""A denoiser whose network has unit variance at every noise, sampled by Heun's rule.

Karras et al. 2022, "Elucidating the design space of diffusion-based generative models" (arXiv:2206.00364). In
:class:`gen_jax.models.diffusion.Diffusion`, where the time is the standard deviation of the noise:

(1) x_t = x_0 + t eps
(2) D = skip x_t + out F(in x_t, log(t) / 4),   see :mod:`gen_jax.diffusion.precondition`
(3) L = E_t weight_t E_eps mean over pixels (D - x_0)^2 = E_t E_eps mean over pixels (F - target)^2
(4) log t ~ N(-1.2, 1.2^2) in training
(5) 80 to 0.002 and then 0 in sampling, evenly in t^(1/7): 2 S - 1 evaluations
"""

from functools import partial
from typing import Literal

from gen_jax.checks import Amount, Count, Evaluations, Positive, Real, Share, in_order, plain
from gen_jax.diffusion import samplers, schedules, solvers, times, training
from gen_jax.diffusion.likelihood import flow_likelihood
from gen_jax.diffusion.precondition import edm_inputs, edm_prediction
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.models.diffusion import Diffusion, Sampler
from gen_jax.networks.denoisers import Denoiser

# What the label of (2) is multiplied by: the sinusoids of the first are made for a thousand steps.
NOISE_SCALE = {"unet": 1000.0, "ddpm++": 1.0, "ncsn++": 1.0, "ncsn++ smooth": 1.0, "adm": 1.0, "mlp": 1000.0}


@plain
class EDMConfig:
    """EDM as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    data_spread: Positive = 0.5
    """Standard deviation of the data that (2) is made for."""
    noise_mean: Real = -1.2
    """Mean of the logarithm of the noise in training."""
    noise_deviation: Positive = 1.2
    """Its standard deviation."""
    least_noise: Positive = 0.002
    """Standard deviation of the sampler's last noise before the data."""
    largest_noise: Positive = 80.0
    """Standard deviation of its first."""
    sampler: Literal["heun", "dpm_solver_2m", "ddim"] = "heun"
    """How images are drawn: of second order with two evaluations a step or one, or of first order with one."""
    sampling_steps: Evaluations = 18
    """Steps of the sampler."""
    churn: Amount = 0.0
    """Noise that Heun's rule adds and takes away again, over all steps; 0 is deterministic."""
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
        factor = self.net.among(NOISE_SCALE)
        net = self.net.build(field.shape, classes)
        drawn: dict[str, tuple[Sampler, int]] = {
            "heun": (partial(solvers.heun, churn=self.churn), 2 * self.sampling_steps - 1),
            "dpm_solver_2m": (solvers.dpm_solver_2m, self.sampling_steps),
            "ddim": (samplers.ddim, self.sampling_steps),
        }
        sampler, evaluations = drawn[self.sampler]
        return Diffusion(
            shape=field.shape,
            classes=classes,
            network=net,
            process=schedules.edm(),
            inputs=edm_inputs(data_spread=self.data_spread, factor=factor),
            prediction=edm_prediction(data_spread=self.data_spread),
            law=training.log_normal(mean=self.noise_mean, deviation=self.noise_deviation),
            weight=training.simple,
            sampler=sampler,
            times=times.karras(self.largest_noise, self.least_noise, self.sampling_steps),
            evaluations=evaluations,
            likelihood=flow_likelihood(
                self.least_noise,
                self.largest_noise,
                probes=self.probes,
                tolerance=self.tolerance,
                level=field.kind.level,
            ),
            guidance=self.guidance,
            label_dropout=self.label_dropout,
            makes=name,
            largest=field.kind.limit,
        )


REFERENCE = EDMConfig(
    net=Denoiser(channels=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), dropout=0.13, network="ddpm++"),
    tolerance=1e-5,
)
"""CIFAR-10: 55,732,739 parameters without labels. The paper's has 1,152 more, which tell it how an image was augmented:
there is no augmentation here but flips. Adam 1e-3 after a linear rise over 10 million images, batches of
512, averages of half-life 500,000 images, flips."""

SMALL = EDMConfig(net=Denoiser(blocks=1, patch=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
