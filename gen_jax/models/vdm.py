"""Variational diffusion models: the bound itself is the loss, and the noise schedule is learned with it.

Kingma, Salimans, Poole and Ho 2021, "Variational diffusion models" (arXiv:2107.00630). With gamma(t) growing over
t in [0, 1], alpha^2 = sigmoid(-gamma), sigma^2 = sigmoid(gamma), z_t = alpha x + sigma eps, all in nats per image:

(1) -log p(x) <= prior + reconstruction + diffusion
(2) prior          = KL(q(z_1 | x) || N(0, I))
(3) reconstruction = -log p(x | z_0),  over the 256 grey levels v with logits -exp(-gamma_0) (z_0 / alpha_0 - v)^2 / 2
(4) diffusion      = E_t gamma'(t) |eps - f(z_t, gamma_t)|^2 / 2                        in infinitely many steps
(5)                = E_t T expm1(gamma_t - gamma_s) |eps - f|^2 / 2,  s = t - 1 / T     in T steps, t = 1/T .. 1
(6) gamma = gamma_0 + (gamma_1 - gamma_0) (h(t) - h(0)) / (h(1) - h(0))

(4) depends on gamma by its ends alone, which descend the bound with the network. What lies between them, h, is the
line, or a small network with positive weights, a player of its own whose loss is the variance of the estimate (4): the
mean, which it cannot change, is left out. Times of a batch are u + i / B modulo 1.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gen_jax import distributions
from gen_jax.checks import Count, Evaluations, Number, Real, in_order, plain
from gen_jax.diffusion import samplers, times, training
from gen_jax.diffusion.interior import LINE, Interior, monotone
from gen_jax.diffusion.process import EPS, Process, denoiser
from gen_jax.fields import Fields, known_classes, of_images
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

LEVELS = 256
NOISE_SCALE = {"unet": 1000.0, "vdm": 1.0, "mlp": 1000.0}  # gamma at the noise, as the network is told it


class Terms(NamedTuple):
    """Of (1), nats ``[B]``; what they add up to bounds the negative log-likelihood from above."""

    prior: jax.Array
    reconstruction: jax.Array
    diffusion: jax.Array

    @property
    def log_prob(self) -> jax.Array:
        """What the log-probability is at least."""
        return -(self.prior + self.reconstruction + self.diffusion)


@dataclass(frozen=True)
class VDM:
    """A game of one player, ``denoiser``; with an interior to learn, of a second one, ``schedule``."""

    log_prob_kind: ClassVar[str] = "lower bound"

    shape: tuple[int, int, int]
    classes: int
    network: Network  # f: z_t [B, H, W, C], gamma_t scaled to 0 .. noise_scale [B], class or None -> [B, H, W, C]
    noise_scale: float
    interior: Interior
    ends: tuple[float, float]  # gamma_0 and gamma_1 to start from
    timesteps: int  # T of (5); 0 for (4)
    sampling_steps: int
    bound_draws: int  # times of (4) or (5) per image in log_prob

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Descend (1); and where the schedule learns, lessen the variance of its estimate."""
        learns = bool(jax.eval_shape(self.interior.init, jax.eval_shape(jax.random.key, 0)))
        return (Turn("denoiser", self.loss), *([Turn("schedule", self.variance)] if learns else []))

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """One per step of the sampler."""
        return self.sampling_steps

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network with the ends of the schedule, and what lies between them."""
        keys = jax.random.split(key)
        network, buffers = self.network.init(keys[0])
        first, last = jnp.array(self.ends, jnp.float32)
        ends = {"first": first, "range": last - first}
        params = {"denoiser": {"network": network, "ends": ends}, "schedule": self.interior.init(keys[1])}
        return params, {"denoiser": buffers, "schedule": {}}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(1), nats per image."""
        terms, carried = self._estimate(params, buffers, batch, key)
        figures = {name: value.mean() for name, value in terms._asdict().items()}
        figures["bits_per_dim"] = distributions.bits_per_dim(terms.log_prob.mean(), self.shape)
        return -terms.log_prob.mean(), Aux(figures, {"denoiser": carried})

    def variance(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """The second moment of (4) or (5) per dimension, whose first the schedule cannot move."""
        terms, _ = self._estimate(params, buffers, batch, key)
        return jnp.mean((terms.diffusion / batch["image"][0].size) ** 2), Aux({})

    def gamma(self, params: Params, t: jax.Array) -> jax.Array:
        """(6), of the shape of ``t``."""
        ends = params["denoiser"]["ends"]
        low, high, here = (self.interior.value(params["schedule"], at) for at in (jnp.zeros(()), jnp.ones(()), t))
        return (ends["first"] + jnp.abs(ends["range"]) * (here - low) / (high - low)).astype(jnp.float32)

    def process(self, params: Params) -> Process:
        """The path of z_t."""

        def root(sign: float, t: jax.Array) -> jax.Array:
            return jnp.exp(0.5 * jax.nn.log_sigmoid(sign * self.gamma(params, t)))

        return Process(partial(root, -1.0), partial(root, 1.0))

    def diffusion_loss(
        self,
        params: Params,
        buffers: Buffers,
        x: jax.Array,
        noise: jax.Array,
        t: jax.Array,
        label: jax.Array | None = None,
        **options: Any,
    ) -> tuple[jax.Array, Tree]:
        """The integrand of (4) or (5) at ``t [B]``, nats ``[B]``, and the network's buffers.

        Args:
          params: of all players.
          buffers: of all players.
          x: images ``[B, H, W, C]``.
          noise: eps, of the same shape.
          t: in [0, 1]; in T steps it is rounded up to a step's end.
          label: ``[B]``.
          **options: of the network.
        """
        gamma = partial(self.gamma, params)
        if self.timesteps:
            t = jnp.maximum(jnp.ceil(t * self.timesteps), 1) / self.timesteps
            weight = self.timesteps * jnp.expm1(gamma(t) - gamma(t - 1 / self.timesteps))
        else:
            weight = jax.jvp(gamma, (t,), (jnp.ones_like(t),))[1]
        predicted, carried = self._predict(
            params, buffers, self.process(params).diffuse(x, noise, t), t, label, **options
        )
        return 0.5 * weight * _sum((noise - predicted) ** 2), carried

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """``n`` images ``[n, H, W, C]`` by ancestral steps, evenly spaced in t; with classes, of those of ``label``."""
        keys = jax.random.split(key, 3)
        process = self.process(params)
        denoise = denoiser(process, lambda z, t: self._predict(params, buffers, z, t, label)[0], EPS)
        when = times.even(1.0, 0.0, self.sampling_steps)
        start = jax.random.normal(keys[1], (n, *self.shape))
        z = samplers.ancestral(process, denoise, when, keys[0], start, variance=samplers.fixed_small)
        return jnp.clip(z / process.alpha(jnp.zeros(())), -1.0, 1.0)

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The bound (1) on the log-probability of 8-bit images, nats ``[B]``."""
        return self.evidence(params, buffers, key, batch).log_prob

    def evidence(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> Terms:
        """The bound's terms, the last from ``bound_draws`` times per image, evenly spread."""
        x, label = batch["image"], self._label(batch)
        keys = jax.random.split(key, 3)
        offset = jax.random.uniform(keys[0], x.shape[:1])

        def draw(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            t = (offset + i / self.bound_draws) % 1.0
            noise = jax.random.normal(jax.random.fold_in(keys[1], i), x.shape)
            return total + self.diffusion_loss(params, buffers, x, noise, t, label)[0] / self.bound_draws, None

        diffusion, _ = jax.lax.scan(draw, jnp.zeros(x.shape[:1]), jnp.arange(self.bound_draws))
        return Terms(*self._ends(params, x, keys[2]), diffusion)

    def _estimate(self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array) -> tuple[Terms, Tree]:
        keys = jax.random.split(key, 4)
        x = batch["image"]
        t, noise = training.spread(keys[0], x.shape[0]), jax.random.normal(keys[1], x.shape)
        diffusion, carried = self.diffusion_loss(
            params, buffers, x, noise, t, self._label(batch), key=keys[3], train=True
        )
        return Terms(*self._ends(params, x, keys[2]), diffusion), carried

    def _ends(self, params: Params, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(2) and (3), each ``[B]``."""
        first, last = (self.gamma(params, jnp.asarray(t)) for t in (0.0, 1.0))
        mean = jnp.exp(0.5 * jax.nn.log_sigmoid(-last)) * x
        prior = _sum(distributions.standard_normal_kl(mean, jax.nn.log_sigmoid(last)))
        seen = x + jnp.exp(first / 2) * jax.random.normal(key, x.shape)  # z_0 / alpha_0
        values = 2 * jnp.arange(LEVELS) / (LEVELS - 1) - 1
        logits = -0.5 * jnp.exp(-first) * (seen[..., None] - values) ** 2
        level = jnp.round((x + 1) * (LEVELS - 1) / 2).astype(jnp.int32)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), level[..., None], axis=-1)[..., 0]
        return prior, -_sum(chosen)

    def _predict(
        self, params: Params, buffers: Buffers, z: jax.Array, t: jax.Array, label: jax.Array | None, **options: Any
    ) -> tuple[jax.Array, Tree]:
        ends = params["denoiser"]["ends"]
        told = self.noise_scale * (self.gamma(params, t) - ends["first"]) / jnp.abs(ends["range"])
        network, carried = params["denoiser"]["network"], buffers["denoiser"]
        return self.network.apply(network, carried, z, told, label, **options)

    def _label(self, batch: Batch) -> jax.Array | None:
        return batch["label"] if self.classes else None


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(axis=tuple(range(1, x.ndim)))


@plain
class VDMConfig:
    """A variational diffusion model as plain data."""

    net: Denoiser = Denoiser()
    """The network."""
    schedule: Literal["line", "monotone"] = "line"
    """Between its learned ends, gamma is a line, or learned to lessen the variance of the loss."""
    schedule_width: Count = 256
    """Hidden units of a learned schedule."""
    first: Real = -13.3
    """Gamma, the logarithm of the noise-to-signal ratio, at the data when training begins."""
    last: Real = 5.0
    """Gamma at the noise."""
    timesteps: Number = 0
    """Steps T of the model that is bounded; 0 for infinitely many."""
    sampling_steps: Evaluations = 250
    """Steps of the sampler, each one evaluation of the network."""
    bound_draws: Count = 16
    """Times at which the likelihood looks at each image."""
    conditional: bool = False
    """Condition on the label; needs labelled data."""

    def __post_init__(self) -> None:
        in_order(self, "first", "last")

    def build(self, fields: Fields) -> VDM:
        """The game on images of any size.

        Raises:
          ValueError: if the network cannot be built, labels are asked for and missing, or a number is out of range.
        """
        shape, _ = of_images(fields)
        classes = known_classes(fields, conditional=self.conditional)
        noise_scale = self.net.among(NOISE_SCALE)
        net = self.net.build(shape, classes)
        return VDM(
            shape=shape,
            classes=classes,
            network=net,
            noise_scale=noise_scale,
            interior=LINE if self.schedule == "line" else monotone(self.schedule_width),
            ends=(self.first, self.last),
            timesteps=self.timesteps,
            sampling_steps=self.sampling_steps,
            bound_draws=self.bound_draws,
        )


REFERENCE = VDMConfig(
    net=Denoiser(channels=128, multipliers=(1,), blocks=32, dropout=0.1, network="vdm"),
    sampling_steps=1000,
    bound_draws=128,
)
"""CIFAR-10: 30,578,179 parameters and the two ends of the schedule; AdamW 2e-4 with b2 0.99 and
decay 0.01, batches of 128, averages that keep 0.9999 a step."""

SMALL = VDMConfig(net=Denoiser(blocks=1, patch=2))
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
