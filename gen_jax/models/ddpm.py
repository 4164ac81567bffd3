"""Denoising diffusion probabilistic models: a chain of steps, learned and drawn one by one.

Ho, Jain and Abbeel 2020 (arXiv:2006.11239); the cosine schedule and learned variances: Nichol and Dhariwal 2021
(arXiv:2102.09672); v: Salimans and Ho 2022 (arXiv:2202.00512); DDIM: Song, Meng and Ermon 2020 (arXiv:2010.02502);
min-SNR weights: Hang et al. 2023 (arXiv:2303.09556). In :class:`gen_jax.models.diffusion.Diffusion`:

(1) x_t = alpha_t x_0 + sigma_t eps,  t = 0 .. T-1          a discrete process
(2) L = E_t w_t E_eps mean over pixels (f(x_t, t) - y)^2    y is eps, x_0 or v; t uniform; w is 1 or min-SNR's
(3) D(x_t, t), clipped to [-1, 1]                           for samplers and the variational bound

The game of learned variances is in :mod:`gen_jax.models.improved_ddpm`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import numpy as np

from gen_jax.checks import Amount, Evaluations, Number, Share, Within, plain
from gen_jax.diffusion import samplers, times, training
from gen_jax.diffusion.bound import bound_likelihood
from gen_jax.diffusion.precondition import counted_time
from gen_jax.diffusion.process import EPS, X0, V
from gen_jax.diffusion.schedules import cosine_betas, discrete, linear_betas
from gen_jax.fields import Fields, known_classes, made_of
from gen_jax.models.diffusion import Diffusion, Sampler
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Network

SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {"linear": linear_betas, "cosine": cosine_betas}
PREDICTIONS = {"eps": EPS, "x0": X0, "v": V}
VARIANCES = {"small": samplers.fixed_small, "large": samplers.fixed_large}
# What the end of the chain is told as: sinusoids are made for a thousand steps.
NOISE_SCALE = {"unet": 1000.0, "ddpm++": 1000.0, "iddpm": 1000.0, "adm": 1000.0, "dit": 1000.0, "mlp": 1000.0}
SPACINGS = {"leading": times.leading, "trailing": times.trailing, "quadratic": times.quadratic}


@plain
class DDPMConfig:
    """A denoising diffusion model as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    timesteps: Annotated[int, Within(2)] = 1000
    """Steps T of the process."""
    schedule: Literal["linear", "cosine"] = "cosine"
    """How the noise grows over the steps; linear is made for 1000 of them."""
    prediction: Literal["eps", "x0", "v"] = "v"
    """What the network predicts: the noise, the image, or the mixture of both that suits all noise levels."""
    sampler: Literal["ddim", "ancestral"] = "ddim"
    """How images are drawn; ancestral is the chain of the paper, DDIM wants far fewer steps."""
    sampling_steps: Evaluations = 50
    """Steps of the sampler, each one evaluation of the network (two with guidance)."""
    spacing: Literal["trailing", "leading", "quadratic"] = "trailing"
    """Which of the T times the sampler visits."""
    eta: Share = 0.0
    """Noise of DDIM: 0 is deterministic, 1 as much as the ancestral sampler with small variance."""
    variance: Literal["small", "large"] = "large"
    """Variance of ancestral steps and of the bound: of the posterior, or of the forward step."""
    weight: Literal["simple", "min_snr"] = "simple"
    """What an error counts: the same at all times, or no more than the signal-to-noise ratio asks, up to 5."""
    bound_terms: Number = 0
    """Terms of the likelihood bound evaluated per image, at random, as an unbiased estimate; 0 for all T."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""
    guidance: Amount = 1.0
    """Scale of classifier-free guidance: 1 is none, above 1 is sharper and less varied."""
    label_dropout: Share = 0.1
    """Share of labels hidden in training, so that there is an unconditional model to guide by."""

    def build(self, fields: Fields) -> Diffusion:
        """The game on images, or on an array of real numbers.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        return self.around(fields, self.network_of(fields))

    def network_of(self, fields: Fields, *, times: int = 1) -> Network:
        """The network, with so many times the channels of the data."""
        shape, classes = made_of(fields)[1].shape, known_classes(fields, conditional=self.conditional)
        self.net.among(NOISE_SCALE)
        return self.net.build(shape, classes, outputs=None if times == 1 else times * shape[-1])

    def around(self, fields: Fields, net: Network) -> Diffusion:
        """The game whose network is ``net``."""
        name, field = made_of(fields)
        process, prediction = discrete(SCHEDULES[self.schedule](self.timesteps)), PREDICTIONS[self.prediction]
        variance = VARIANCES[self.variance]
        drawn: dict[str, Sampler] = {
            "ddim": partial(samplers.ddim, eta=self.eta),
            "ancestral": partial(samplers.ancestral, variance=variance),
        }
        weight: training.Weight = training.simple
        if self.weight == "min_snr":
            weight = training.min_snr(process, prediction, self.timesteps - 1)
        return Diffusion(
            shape=field.shape,
            classes=known_classes(fields, conditional=self.conditional),
            network=net,
            process=process,
            inputs=counted_time(self.net.among(NOISE_SCALE) / self.timesteps),
            prediction=prediction,
            law=training.steps(self.timesteps),
            weight=weight,
            sampler=drawn[self.sampler],
            times=SPACINGS[self.spacing](self.timesteps, self.sampling_steps),
            evaluations=self.sampling_steps,
            likelihood=bound_likelihood(self.chain, terms=self.bound_terms, variance=variance, level=field.kind.level),
            limit=field.kind.limit,
            guidance=self.guidance,
            label_dropout=self.label_dropout,
            makes=name,
            largest=field.kind.limit,
        )

    @property
    def chain(self) -> np.ndarray:
        """All times, T - 1 to -1."""
        return np.arange(self.timesteps - 1, -2, -1)


REFERENCE = DDPMConfig(
    net=Denoiser(channels=128, multipliers=(1, 2, 2, 2), attention=(16,), dropout=0.1),
    schedule="linear",
    prediction="eps",
    sampler="ancestral",
    sampling_steps=1000,
)
"""CIFAR-10: 35,746,307 parameters. Adam 2e-4 after 5000 steps of warm-up, batches of 128, gradients clipped at norm 1,
flips."""

SMALL = DDPMConfig(net=Denoiser(blocks=1, patch=2), bound_terms=50)
"""28x28 Fashion-MNIST in minutes on two CPU cores."""

DIGITS = replace(SMALL, net=Denoiser(blocks=1))
"""8x8 digits in a minute on two CPU cores."""
