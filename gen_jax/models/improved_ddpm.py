"""Learned variances of the reverse steps, and the times at which the bound is worth looking at.

Nichol and Dhariwal 2021, "Improved denoising diffusion probabilistic models" (arXiv:2102.09672). The network has twice
the channels: f as in :mod:`gen_jax.models.ddpm`, and h of which the variance of a step is made, pixel by pixel:

(1) log variance_t = s log(variance of the forward step) + (1 - s) log(posterior variance),  s = (h + 1) / 2
(2) hybrid loss = mean |f - y|^2 + T / 1000 L_t,  L_t in bits/dim: the bound's term of step t, in which f is held fixed
(3) bound = T L_t, in which f moves, too
(4) t ~ p_t = (1 - u) sqrt(E L_t^2) / sum + u / T,  u = 0.001, E over the last ten losses at t;  weight 1 / (T p_t)

Until every time has ten losses (4) is uniform; the losses are kept in the buffers.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.checks import plain
from gen_jax.diffusion import samplers, training
from gen_jax.diffusion.bound import Bound, decoder_loss, step_kl, variational_bound
from gen_jax.diffusion.process import Denoise, Process
from gen_jax.diffusion.samplers import Reverse, Times, Variance, between
from gen_jax.fields import Fields, of_images
from gen_jax.models import ddpm
from gen_jax.models.ddpm import DDPMConfig
from gen_jax.models.diffusion import Diffusion
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Batch, Buffers, Network, Params, Tree, Turn

ReverseSampler = Callable[[Process, Reverse, Times, jax.Array, jax.Array], jax.Array]


class Objective(NamedTuple):
    """``error`` times the squared error and T ``bound`` times L_t, in which f is ``held``."""

    error: float
    bound: float
    held: Callable[[jax.Array], jax.Array]


HYBRID = Objective(1.0, 1e-3, jax.lax.stop_gradient)  # (2)
BOUND = Objective(0.0, 1.0, lambda f: f)  # (3)
OBJECTIVES = {"hybrid": HYBRID, "bound": BOUND}


@dataclass(frozen=True)
class Uniform:
    """All times alike, evenly spread over the batch; nothing is carried."""

    def init(self, timesteps: int) -> Tree:
        """Nothing."""
        return {}

    def draw(self, carried: Tree, key: jax.Array, n: int, timesteps: int) -> tuple[jax.Array, jax.Array]:
        """Times int32 ``[n]`` and their weights."""
        return training.steps(timesteps)(training.spread(key, n)), jnp.ones(n)

    def update(self, carried: Tree, t: jax.Array, losses: jax.Array) -> Tree:
        """Nothing."""
        return carried


@dataclass(frozen=True)
class LossSecondMoment:
    """(4)."""

    kept: int = 10
    uniform_share: float = 1e-3

    def init(self, timesteps: int) -> Tree:
        """The last losses ``[T, kept]``, newest last, and how many there have been, ``[T]``."""
        return {"losses": jnp.zeros((timesteps, self.kept)), "count": jnp.zeros(timesteps)}

    def draw(self, carried: Tree, key: jax.Array, n: int, timesteps: int) -> tuple[jax.Array, jax.Array]:
        """Times int32 ``[n]`` and their weights ``1 / (T p_t)``, whose mean is 1."""
        moments = jnp.sqrt(jnp.mean(carried["losses"].astype(jnp.float32) ** 2, axis=1))
        p = (1 - self.uniform_share) * moments / jnp.maximum(moments.sum(), 1e-30) + self.uniform_share / timesteps
        p = jnp.where((carried["count"] >= self.kept).all(), p, 1 / timesteps)
        cumulative = jnp.cumsum(p)
        t = jnp.searchsorted(cumulative, training.spread(key, n) * cumulative[-1], side="right")
        t = jnp.minimum(t, timesteps - 1).astype(jnp.int32)
        return t, 1 / (timesteps * p[t])

    def update(self, carried: Tree, t: jax.Array, losses: jax.Array) -> Tree:
        """``carried`` with every loss ``[B]`` at its time, one after the other, the oldest forgotten."""

        def add(carried: Tree, new: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
            where, loss = new
            row = jnp.append(carried["losses"][where, 1:], loss.astype(carried["losses"].dtype))
            count = carried["count"].at[where].add(1)
            return {"losses": carried["losses"].at[where].set(row), "count": count}, None

        return jax.lax.scan(add, carried, (t, losses))[0]


RESAMPLINGS: dict[str, type[Uniform | LossSecondMoment]] = {
    "uniform": Uniform,
    "loss_second_moment": LossSecondMoment,
}


@dataclass(frozen=True)
class LearnedVariance:
    """A game of one player, ``denoiser``: a diffusion whose network also says the variances (1)."""

    log_prob_kind: ClassVar[str] = "lower bound"

    diffusion: Diffusion  # of f alone
    network: Network  # as that of the diffusion, with f and h on the last axis
    timesteps: int
    objective: Objective
    resampling: Uniform | LossSecondMoment
    reverse: ReverseSampler | None  # a sampler that takes the variances; None: the diffusion's own, which does not
    chain: np.ndarray  # T - 1 .. -1, of the bound
    bound_terms: int = 0  # 0: all

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W, C."""
        return self.diffusion.shape

    @property
    def classes(self) -> int:
        """0: none."""
        return self.diffusion.classes

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One turn: descend (2) or (3)."""
        return (Turn("denoiser", self.loss),)

    makes: ClassVar[str] = "image"

    @property
    def given(self) -> tuple[str, ...]:
        """The label, where there are classes."""
        return ("label",) if self.classes else ()

    @property
    def network_evaluations(self) -> int:
        """Those of the diffusion: the variance comes with the mean."""
        return self.diffusion.network_evaluations

    def init(self, key: jax.Array, batch: Batch) -> tuple[Params, Buffers]:
        """The network, and the memory of (4)."""
        params, buffers = self.network.init(key)
        return {"denoiser": params}, {"denoiser": {"network": buffers, "seen": self.resampling.init(self.timesteps)}}

    def loss(
        self, params: Params, buffers: Buffers, batch: Batch, key: jax.Array, *, step: Any, ema: Any
    ) -> tuple[jax.Array, Aux]:
        """(2) or (3), each example weighted by (4)."""
        keys = jax.random.split(key, 4)
        x_0, seen, model = batch["image"], buffers["denoiser"]["seen"], self.diffusion
        t, importance = self.resampling.draw(seen, keys[0], x_0.shape[0], self.timesteps)
        noise = jax.random.normal(keys[1], x_0.shape)
        label = model.hidden_label(keys[2], batch)
        x_t = model.process.diffuse(x_0, noise, t)
        whole, carried = self._predict(params, buffers, x_t, t, label, key=keys[3], train=True)
        f, h = jnp.split(whole, 2, axis=-1)
        error = jnp.mean((f - model.prediction.target(model.process, x_0, noise, t)) ** 2, axis=(1, 2, 3))
        error = error * model.weight(model.process, t)
        bits = self._term(self.objective.held(f), h, x_0, noise, t)
        losses = self.objective.error * error + self.timesteps * self.objective.bound * bits
        kept = self.resampling.update(seen, t, jax.lax.stop_gradient(losses))
        figures = {"error": error.mean(), "bits_per_dim": self.timesteps * (importance * bits).mean()}
        return (importance * losses).mean(), Aux(figures, {"denoiser": {"network": carried, "seen": kept}})

    def sample(
        self, params: Params, buffers: Buffers, key: jax.Array, n: int, *, label: jax.Array | None = None
    ) -> jax.Array:
        """As the diffusion, with the learned variances where the sampler is ancestral."""
        model, inner = self.diffusion, self._inner(buffers)
        if self.reverse is None:
            return model.sample(params, inner, key, n, label=label)
        keys = jax.random.split(key)

        def read(x_t: jax.Array, t: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
            times = jnp.broadcast_to(t, x_t.shape[:1])
            whole, _ = self._predict(params, buffers, x_t, times, label)
            f, h = jnp.split(whole, 2, axis=-1)
            conditional = model.finished(
                params, inner, lambda x, t: model.prediction.x_0(model.process, f, x, t), label
            )
            return conditional(x_t, times), between(model.process, x_t, t, s, _share(h))

        reverse = self.reverse

        def sampler(process: Process, denoise: Denoise, times: Times, key: jax.Array, x: jax.Array) -> jax.Array:
            return reverse(process, read, times, key, x)

        return dataclasses.replace(model, sampler=sampler).sample(params, inner, keys[0], n, label=label)

    def denoise(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """That of the diffusion."""
        return self.diffusion.denoise(params, self._inner(buffers), x_t, t, label=label)

    def variance(self, params: Params, buffers: Buffers, *, label: jax.Array | None = None) -> Variance:
        """(1), from an evaluation of the network beside the denoiser's."""

        def variance(process: Process, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
            whole, _ = self._predict(params, buffers, x, jnp.broadcast_to(t, x.shape[:1]), label)
            return between(process, x, t, s, _share(jnp.split(whole, 2, axis=-1)[1]))

        return variance

    def log_prob(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> jax.Array:
        """The variational bound with the learned variances on the log-probability of 8-bit images, nats ``[B]``."""
        return self.evidence(params, buffers, key, batch).log_prob

    def evidence(self, params: Params, buffers: Buffers, key: jax.Array, batch: Batch) -> Bound:
        """The bound's terms, nats ``[B]`` each, without guidance."""
        label = self.diffusion.label(batch)
        variance = self.variance(params, buffers, label=label)
        unguided = dataclasses.replace(self.diffusion, guidance=1.0)
        return variational_bound(
            self.diffusion.process,
            unguided.denoiser(params, self._inner(buffers), label),
            self.chain,
            key,
            batch["image"],
            terms=self.bound_terms,
            variance=variance,
            decoder_variance=lambda process, x, beyond, first: variance(process, x, first, first - 1),
        )

    def _term(self, f: jax.Array, h: jax.Array, x_0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """L_t in bits/dim ``[B]``: a divergence, or at t = 0 the decoder."""
        process, inner = self.diffusion.process, jnp.maximum(t, 1)

        def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
            return self.diffusion.prediction.x_0(process, f, x_t, t)

        def variance(process: Process, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
            return between(process, x, t, s, _share(h))

        def last(process: Process, x: jax.Array, beyond: jax.Array, first: jax.Array) -> jax.Array:
            return variance(process, x, first, first - 1)

        first = jnp.zeros_like(t)
        divergence = step_kl(process, denoise, x_0, noise, inner, inner - 1, variance=variance)
        decoder = decoder_loss(process, denoise, x_0, noise, first, first + 1, variance=last)
        return jnp.where(t > 0, divergence, decoder) / (x_0[0].size * jnp.log(2.0))

    def _predict(
        self, params: Params, buffers: Buffers, x_t: jax.Array, t: jax.Array, label: jax.Array | None, **options: Any
    ) -> tuple[jax.Array, Tree]:
        whole = dataclasses.replace(self.diffusion, network=self.network)
        return whole.predict(params, self._inner(buffers), x_t, t, label, **options)

    def _inner(self, buffers: Buffers) -> Buffers:
        return {**buffers, "denoiser": buffers["denoiser"]["network"]}


def first_half(network: Network) -> Network:
    """The network of the first half of another's output channels."""

    def apply(*inputs: Any, **options: Any) -> tuple[jax.Array, Tree]:
        output, buffers = network.apply(*inputs, **options)
        return output[..., : output.shape[-1] // 2], buffers

    return Network(network.init, apply)


def _share(h: jax.Array) -> jax.Array:
    return (h + 1) / 2


@plain
class ImprovedDDPMConfig:
    """A DDPM that learns its variances, as plain data."""

    ddpm: DDPMConfig = DDPMConfig()
    """The chain and the network, which gets twice the channels; its ``variance`` is learned and may not be chosen."""
    objective: Literal["hybrid", "bound"] = "hybrid"
    """The error and a little of the bound, or the bound alone."""
    resampling: Literal["uniform", "loss_second_moment"] = "uniform"
    """All times alike, or those more often whose losses were large."""

    def __post_init__(self) -> None:
        if self.ddpm.variance != DDPMConfig.variance:
            raise ValueError(
                f"ddpm.variance: expected none, as it is learned, got {self.ddpm.variance!r}; leave it out"
            )

    def build(self, fields: Fields) -> LearnedVariance:
        """The game on images.

        Raises:
          ValueError: if the DDPM cannot be built, or chooses a variance.
        """
        of_images(fields)
        net = self.ddpm.network_of(fields, times=2)
        return LearnedVariance(
            diffusion=self.ddpm.around(fields, first_half(net)),
            network=net,
            timesteps=self.ddpm.timesteps,
            objective=OBJECTIVES[self.objective],
            resampling=RESAMPLINGS[self.resampling](),
            reverse=samplers.ancestral_by if self.ddpm.sampler == "ancestral" else None,
            chain=self.ddpm.chain,
            bound_terms=self.ddpm.bound_terms,
        )


REFERENCE = ImprovedDDPMConfig(
    DDPMConfig(
        net=Denoiser(channels=128, multipliers=(1, 2, 2, 2), blocks=3, attention=(16, 8), dropout=0.3, network="iddpm"),
        timesteps=4000,
        prediction="eps",
        sampler="ancestral",
        sampling_steps=4000,
    )
)
"""CIFAR-10: 52,546,438 parameters. Adam 1e-4, batches of 128, 500,000 steps."""

SMALL = ImprovedDDPMConfig(ddpm.SMALL)
"""28x28 Fashion-MNIST in minutes on two CPU cores."""
