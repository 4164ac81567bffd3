"""Denoising diffusion probabilistic models.

Ho, Jain and Abbeel 2020 (arXiv:2006.11239); the cosine schedule: Nichol and Dhariwal 2021 (arXiv:2102.09672); v:
Salimans and Ho 2022 (arXiv:2202.00512); DDIM: Song, Meng and Ermon 2020 (arXiv:2010.02502); classifier-free guidance:
Ho and Salimans 2022 (arXiv:2207.12598).

(1) x_t = alpha_t x_0 + sigma_t eps,  t = 0 .. T-1          the process, given
(2) L = E_t E_eps mean over pixels (f(x_t, t) - y)^2       y is eps, x_0 or v: what the network f predicts
(3) D(x_t, t) = E[x_0 | x_t], from f, clipped to [-1, 1]    what samplers and the bound are made of

In (2) the times of a batch are u + i / B modulo 1, with one uniform u: each is uniform and all are evenly spread, so
that the loss of a batch hardly depends on which times it drew.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.diffusion import process as diffusion
from gen_jax.diffusion import samplers, times
from gen_jax.diffusion.bound import Bound, variational_bound
from gen_jax.diffusion.guidance import classifier_free, clipped
from gen_jax.diffusion.process import Denoise, Prediction, Process
from gen_jax.diffusion.schedules import cosine_betas, discrete, linear_betas
from gen_jax.interpolate import slerp
from gen_jax.nn.functional import network
from gen_jax.nn.unet import UNet
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Turn

Sampler = Callable[[Process, Denoise, samplers.Times, jax.Array, jax.Array], jax.Array]

SCHEDULES: dict[str, Callable[[int], np.ndarray]] = {"linear": linear_betas, "cosine": cosine_betas}
PREDICTIONS = {"eps": diffusion.EPS, "x0": diffusion.X0, "v": diffusion.V}
VARIANCES = {"small": samplers.fixed_small, "large": samplers.fixed_large}
SPACINGS = {"leading": times.leading, "trailing": times.trailing, "quadratic": times.quadratic}


@dataclass(frozen=True)
class DDPM:
    """A game of one player, ``denoiser``."""

    log_prob_kind: ClassVar[str] = "lower bound"

    shape: tuple[int, int, int]
    classes: int
    network: Network  # f: x_t [B, H, W, C], t [B] in 0 .. 1000, label [B] -> [B, H, W, C]; label `classes` is none
    process: Process  # (1)
    prediction: Prediction  # y
    timesteps: int  # T
    sampler: Sampler
    times: np.ndarray  # that the sampler visits, [S + 1], the data's -1 last
    variance: samplers.Variance  # of the steps of the bound
    guidance: float = 1.0
    label_dropout: float = 0.1
    bound_terms: int = 0  # 0: all

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (2)."""
        return (Turn("denoiser", self.loss),)

    @property
    def network_evaluations(self) -> int:
        """One per step of the sampler, two with guidance."""
        return (len(self.times) - 1) * (2 if self._guided else 1)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network's parameters; it has no buffers."""
        params, buffers = self.network.init(key)
        return {"denoiser": params}, {"denoiser": buffers}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2): a mean over pixels, 1 at the start where y is eps."""
        keys = jax.random.split(key, 4)
        x_0 = batch["image"]
        t = _spread_times(keys[0], x_0.shape[0], self.timesteps)
        noise = jax.random.normal(keys[1], x_0.shape)
        label = self._label(batch)
        if label is not None:
            label = jnp.where(jax.random.bernoulli(keys[2], self.label_dropout, label.shape), self.classes, label)
        x_t = self.process.diffuse(x_0, noise, t)
        target = self.prediction.target(self.process, x_0, noise, t)
        prediction = self._predict(params, buffers, x_t, t, label, key=keys[3], train=True)
        return jnp.mean((prediction - target) ** 2), Aux({})

    def denoise(
        self,
        params: Params,
        buffers: Buffers,
        x_t: jax.Array,
        t: jax.Array,
        *,
        label: jax.Array | None = None,
    ) -> jax.Array:
        """(3) at integer times ``t [B]``, guided where the model is; without ``label [B]`` the unconditional one."""
        return self._denoiser(params, buffers, label)(x_t, t)

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]``; with classes and no ``label [n]``, labels are uniform."""
        keys = jax.random.split(key, 3)
        if self.classes and label is None:
            label = jax.random.randint(keys[2], (n,), 0, self.classes)
        start = jax.random.normal(keys[1], (n, *self.shape))
        return self.sampler(self.process, self._denoiser(params, buffers, label), self.times, keys[0], start)

    def encode(self, params: Params, buffers: Buffers, x: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        """The noise ``[B, H, W, C]`` that :meth:`decode` turns into ``x``, to the precision of the steps."""
        return samplers.ddim_encode(self.process, self._denoiser(params, buffers, label), self.times, x)

    def decode(
        self, params: Params, buffers: Buffers, noise: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """The images of ``noise [B, H, W, C]`` by deterministic DDIM."""
        denoise = self._denoiser(params, buffers, label)
        return samplers.ddim(self.process, denoise, self.times, jax.random.key(0), noise)

    def interpolate(
        self,
        params: Params,
        buffers: Buffers,
        start: jax.Array,
        end: jax.Array,
        weights: jax.Array,
        *,
        label: jax.Array | None = None,
    ) -> jax.Array:
        """Images on the arc between the noises of two.

        Args:
          params: of all players.
          buffers: of all players.
          start: images ``[n, H, W, C]``.
          end: images ``[n, H, W, C]``.
          weights: ``[k]``; 0 is ``start`` and 1 is ``end``, as far as encoding and decoding keep them.
          label: ``[n]``, with classes.

        Returns:
          ``[n, k, H, W, C]``.
        """
        a, b = (self.encode(params, buffers, x, label=label).reshape(len(x), -1) for x in (start, end))
        along = jax.vmap(lambda weight: slerp(a, b, weight), out_axes=1)(weights)
        repeated = None if label is None else jnp.repeat(label, len(weights))
        images = self.decode(params, buffers, along.reshape(-1, *self.shape), label=repeated)
        return images.reshape(len(start), len(weights), *self.shape)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The variational bound on the log-probability of 8-bit images, nats ``[B]``."""
        return -self.bound(params, buffers, key, batch).total

    def bound(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> Bound:
        """The bound's terms, nats ``[B]`` each, over the whole chain and without guidance."""
        predict = partial(self._predict, params, buffers, label=self._label(batch))
        denoise = clipped(diffusion.denoiser(self.process, predict, self.prediction))
        chain = np.arange(self.timesteps - 1, -2, -1)
        return variational_bound(
            self.process, denoise, chain, key, batch["image"], terms=self.bound_terms, variance=self.variance
        )

    @property
    def _guided(self) -> bool:
        return self.classes > 0 and self.guidance != 1.0

    def _denoiser(self, params: Params, buffers: Buffers, label: jax.Array | None) -> Denoise:
        def conditioned(label: jax.Array | None) -> Denoise:
            predict = partial(self._predict, params, buffers, label=label)
            return diffusion.denoiser(self.process, predict, self.prediction)

        if not self._guided or label is None:
            return clipped(conditioned(label))
        return clipped(classifier_free(conditioned(label), conditioned(None), scale=self.guidance))

    def _predict(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, label: jax.Array | None, **options: Any
    ) -> jax.Array:
        scaled = t * (1000 / self.timesteps)  # the sinusoids are made for a thousand steps
        return self.network.apply(params["denoiser"], buffers["denoiser"], x_t, scaled, label, **options)[0]

    def _label(self, batch: Batch) -> jax.Array | None:
        if not self.classes:
            return None
        if "label" not in batch:
            raise ValueError(
                f"expected a batch with labels of {self.classes} classes, got only {sorted(batch)}; "
                "use labelled data or conditional=False"
            )
        return batch["label"]


def _spread_times(key: jax.Array, n: int, timesteps: int) -> jax.Array:
    where = (jax.random.uniform(key) + jnp.arange(n) / n) % 1.0
    return jnp.minimum((where * timesteps).astype(jnp.int32), timesteps - 1)


@dataclass(frozen=True)
class DDPMConfig:
    """A denoising diffusion model as plain data."""

    channels: int = 32
    """Channels of the U-Net's first level."""
    multipliers: tuple[int, ...] = (1, 2)
    """Channels of its levels in multiples of the first; the side is halved between them if it can be."""
    blocks: int = 2
    """Residual blocks per level on the way down; one more on the way up."""
    attention: tuple[int, ...] = ()
    """Sides, in patches, of the levels that have self-attention after every block; the middle always has it."""
    dropout: float = 0.0
    """Share of activations dropped in every block while training."""
    patch: int = 1
    """Side, in pixels, of the blocks that the network takes as channels; 2 needs a quarter of the work of 1."""
    timesteps: int = 1000
    """Steps T of the process."""
    schedule: Literal["linear", "cosine"] = "cosine"
    """How the noise grows over the steps; linear is made for 1000 of them."""
    prediction: Literal["eps", "x0", "v"] = "v"
    """What the network predicts: the noise, the image, or the mixture of both that suits all noise levels."""
    sampler: Literal["ddim", "ancestral"] = "ddim"
    """How images are drawn; ancestral is the chain of the paper, DDIM wants far fewer steps."""
    sampling_steps: int = 50
    """Steps of the sampler, each one evaluation of the network (two with guidance)."""
    spacing: Literal["trailing", "leading", "quadratic"] = "trailing"
    """Which of the T times the sampler visits."""
    eta: float = 0.0
    """Noise of DDIM: 0 is deterministic, 1 as much as the ancestral sampler with small variance."""
    variance: Literal["small", "large"] = "large"
    """Variance of ancestral steps and of the bound: that of the posterior, or of the forward step."""
    bound_terms: int = 0
    """Terms of the likelihood bound evaluated per image, at random, as an unbiased estimate; 0 for all T."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""
    guidance: float = 1.0
    """Scale of classifier-free guidance: 1 is none, above 1 is sharper and less varied."""
    label_dropout: float = 0.1
    """Share of labels hidden in training, so that there is an unconditional model to guide by."""

    def build(self, shape: tuple[int, int, int], classes: int) -> DDPM:
        """The game on images of ``shape`` (H, W, C).

        Raises:
          ValueError: if the images are not square, their side not divisible by 4 and by the patch, labels are asked for
            and missing, or a number is out of range.
        """
        self._check(shape, classes)
        classes = classes if self.conditional else 0
        unet = network(
            UNet,
            side=shape[0],
            channels=shape[2],
            base=self.channels,
            multipliers=tuple(self.multipliers),
            blocks=self.blocks,
            attention=tuple(self.attention),
            dropout=self.dropout,
            patch=self.patch,
            classes=classes,
        )
        variance = VARIANCES[self.variance]
        drawn: dict[str, Sampler] = {
            "ddim": partial(samplers.ddim, eta=self.eta),
            "ancestral": partial(samplers.ancestral, variance=variance),
        }
        return DDPM(
            shape=shape,
            classes=classes,
            network=unet,
            process=discrete(SCHEDULES[self.schedule](self.timesteps)),
            prediction=PREDICTIONS[self.prediction],
            timesteps=self.timesteps,
            sampler=drawn[self.sampler],
            times=SPACINGS[self.spacing](self.timesteps, self.sampling_steps),
            variance=variance,
            guidance=self.guidance,
            label_dropout=self.label_dropout,
            bound_terms=self.bound_terms,
        )

    def _check(self, shape: tuple[int, int, int], classes: int) -> None:
        side, width, _ = shape
        if side != width:
            raise ValueError(f"expected square images, got {side} x {width}; crop or pad them")
        if side % 4 or side < 4:
            raise ValueError(f"expected a side divisible by 4, got {side}; crop or pad the images")
        if self.patch < 1 or side % self.patch:
            raise ValueError(f"expected a patch that divides the side {side}, got {self.patch}; try 1, 2 or 4")
        if self.channels < 4 or self.channels % 2:
            raise ValueError(f"expected channels even and at least 4, as they hold sines, got {self.channels}")
        if not self.multipliers or min(*self.multipliers, self.blocks) < 1:
            raise ValueError(f"expected multipliers and blocks of at least 1, got {self.multipliers} and {self.blocks}")
        if self.timesteps < 2:
            raise ValueError(f"expected at least 2 timesteps, got {self.timesteps}; 1000 is usual")
        if not (0 <= self.dropout < 1 and 0 <= self.label_dropout <= 1 and 0 <= self.eta <= 1):
            raise ValueError(
                "expected dropout, label_dropout and eta between 0 and 1, got "
                f"{self.dropout}, {self.label_dropout} and {self.eta}"
            )
        if self.bound_terms < 0:
            raise ValueError(f"expected bound_terms of at least 0, got {self.bound_terms}; 0 evaluates all of them")
        if self.conditional and not classes:
            raise ValueError("expected labelled data for conditional=True, got data without labels; set it to False")


REFERENCE = DDPMConfig(
    channels=128,
    multipliers=(1, 2, 2, 2),
    attention=(16,),
    dropout=0.1,
    schedule="linear",
    prediction="eps",
    sampler="ancestral",
    sampling_steps=1000,
)
"""CIFAR-10: 35,746,307 parameters. Adam 2e-4 after 5000 steps of warm-up, batches of 128, gradients clipped at norm 1,
flips."""

SMALL = DDPMConfig(blocks=1, patch=2, bound_terms=50)
"""28x28 Fashion-MNIST in minutes on two CPU cores."""

DIGITS = replace(SMALL, patch=1)
"""8x8 digits in a minute on two CPU cores."""
