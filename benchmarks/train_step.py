"""Seconds of a train step, ours and PyTorch's, taken in turns in one run.

    python -m benchmarks.train_step --rounds 10

A step is all of it: 8-bit images to floats, noise, forward, backward, Adam and the average of the weights, in float32
with all cores. Ours is one dispatch of :func:`gen_jax.train.step.make_step`, as the training loop does it; PyTorch's is
eager, with fused Adam, in both of its memory formats. First both sides must give the same outputs and gradients.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from torch.nn import functional as F

from benchmarks import torch_networks
from gen_jax import fields
from gen_jax.data import prepare
from gen_jax.models import Diffusion, dcgan, ddpm
from gen_jax.networks.denoisers import Denoiser
from gen_jax.protocol import Aux, Model, Network, Turn
from gen_jax.train import shard
from gen_jax.train.ema import Average
from gen_jax.train.optimizers import Adam
from gen_jax.train.step import init_state, make_step

SHAPE = (28, 28, 1)
BATCH = 64
DECAY = 0.998  # of PyTorch's average; ours follows its schedule
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}

Run = Callable[[int], None]  # takes so many steps and waits for the last


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    rounds: int = 10
    """Times that every contestant is timed, in turns."""
    steps: int = 5
    """Train steps at a time."""


class Contest(NamedTuple):
    """One network, trained by both."""

    name: str
    ours: Run
    theirs: dict[str, Run]  # by memory format


def our_run(model: Model, optimizers: dict[str, Adam], images: np.ndarray) -> tuple[Run, Any]:
    """Our train step of any game on one batch of 8-bit images, and the parameters that it starts from."""
    mesh, batch = shard.data_mesh(), {"image": images}
    recipes = {name: adam.build(1) for name, adam in optimizers.items()}
    begin = jax.jit(lambda key, batch: init_state(model.init, model.turns, recipes, key, prepare(batch)))
    state = begin(jax.random.key(0), shard.place(batch, mesh))
    params = jax.device_get(state.params)
    step = make_step(model.turns, recipes, Average(), prepare=prepare)
    due = tuple(range(len(model.turns)))
    compiled = step.one.lower(state, shard.place(batch, mesh), due=due).compile()

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, report = compiled(state, shard.place(batch, mesh))
        jax.block_until_ready(report)

    return run, params


class TorchPlayer:
    """A module with its optimizer and the average of its weights and statistics."""

    def __init__(self, module: torch.nn.Module, params: Any, adam: Adam, memory_format: torch.memory_format):
        self.module = module.to(memory_format=memory_format)
        torch_networks.copy_parameters(module, params)
        self.optimizer = torch.optim.Adam(
            module.parameters(), adam.learning_rate, (adam.b1, adam.b2), eps=1e-8, fused=True
        )
        self.followed = [x for x in module.state_dict().values() if x.is_floating_point()]
        self.average = [x.clone() for x in self.followed]

    def descend(self, loss: torch.Tensor) -> None:
        """One update of the weights and one of their average."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        torch._foreach_lerp_(self.average, self.followed, 1 - DECAY)


def torch_ddpm(model: Diffusion, timesteps: int, player: TorchPlayer, batch: torch.Tensor) -> Run:
    """The train step of :class:`gen_jax.models.diffusion.Diffusion` on a chain."""
    times = jnp.arange(timesteps)
    alpha, sigma = (
        torch.from_numpy(np.array(f(times), np.float32)) for f in (model.process.alpha, model.process.sigma)
    )

    def run(steps: int) -> None:
        for _ in range(steps):
            x = _floats(batch)
            spread = (torch.rand(()) + torch.arange(len(x)) / len(x)) % 1.0
            t = (spread * timesteps).long().clamp(max=timesteps - 1)
            noise = torch.randn_like(x)
            a, s = (table[t][:, None, None, None] for table in (alpha, sigma))
            predicted = player.module(a * x + s * noise, t * (1000 / timesteps))
            player.descend(F.mse_loss(predicted, a * noise - s * x))

    return run


def torch_dcgan(latent: int, generator: TorchPlayer, critic: TorchPlayer, batch: torch.Tensor) -> Run:
    """The train step of :class:`gen_jax.models.dcgan.DCGAN`, both turns."""

    def generate() -> torch.Tensor:
        return generator.module(torch.randn(len(batch), latent))

    def run(steps: int) -> None:
        for _ in range(steps):
            real = _floats(batch)
            with torch.no_grad():
                fake = generate()
            critic.module.requires_grad_(True)
            logits = critic.module(real), critic.module(fake)
            critic.descend(F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean())
            critic.module.requires_grad_(False)  # the generator's turn needs none of its gradients
            generator.descend(F.softplus(-critic.module(generate())).mean())

    return run


def _floats(batch: torch.Tensor) -> torch.Tensor:
    return (batch.float() - 127.5) / 127.5


def ddpm_contest(name: str, configuration: ddpm.DDPMConfig, images: np.ndarray) -> Contest:
    """The U-Net's train step on both sides."""
    model, adam = configuration.build(fields.images(SHAPE)), Adam()
    if configuration.prediction != "v":
        raise ValueError(f"expected prediction='v', which the step in PyTorch has, got {configuration.prediction!r}")
    ours, params = our_run(model, {"denoiser": adam}, images)
    options = {
        "base": configuration.net.channels,
        "multipliers": configuration.net.multipliers,
        "blocks": configuration.net.blocks,
        "attention": configuration.net.attention,
        "dropout": configuration.net.dropout,
        "patch": configuration.net.patch,
    }
    theirs = {}
    for label, layout in FORMATS.items():
        module = torch_networks.UNet(SHAPE[0], SHAPE[2], **options).to(memory_format=layout)
        x = _normal(8, *SHAPE)
        assert_equal(model.network, module, x, np.linspace(0, 999, 8).astype(np.int32))
        player = TorchPlayer(module, params["denoiser"], adam, layout)
        theirs[label] = torch_ddpm(model, configuration.timesteps, player, _as_torch(images, layout))
    return Contest(f"{name}, {_count(params)} parameters", ours, theirs)


def dcgan_contest(name: str, configuration: dcgan.DCGANConfig, images: np.ndarray) -> Contest:
    """The generator's and the critic's turn on both sides."""
    model, adam = configuration.build(fields.images(SHAPE)), Adam(b1=0.5)
    ours, params = our_run(model, {"generator": adam, "critic": adam}, images)
    theirs = {}
    for label, layout in FORMATS.items():
        side, channels = SHAPE[0], SHAPE[2]
        generator = torch_networks.Generator(side, channels, latent=model.latent, base=configuration.base)
        critic = torch_networks.Critic(side, channels, base=configuration.base)
        assert_equal(model.generator, generator.to(memory_format=layout), _normal(8, model.latent))
        assert_equal(model.critics[0].network, critic.to(memory_format=layout), _normal(8, *SHAPE))
        players = (
            TorchPlayer(module, params[player], adam, layout)
            for player, module in (("generator", generator), ("critic", critic))
        )
        theirs[label] = torch_dcgan(model.latent, *players, _as_torch(images, layout))
    return Contest(f"{name}, {_count(params)} parameters", ours, theirs)


def assert_equal(network: Network, module: torch.nn.Module, *inputs: np.ndarray) -> None:
    """Both sides in training give the same output and the same gradient of its mean square, at random parameters.

    Raises:
      AssertionError: if they do not.
    """
    initial, buffers = jax.jit(network.init)(jax.random.key(0))
    leaves, structure = jax.tree.flatten(initial)
    # Away from the initial ones, where the last convolution is zero and so is everything behind it.
    params = jax.tree.unflatten(structure, [x + 0.05 * _normal(*x.shape) for x in leaves])

    def mean_square(params: Any) -> tuple[jax.Array, jax.Array]:
        y, _ = network.apply(params, buffers, *inputs, train=True)
        return jnp.mean(y**2), y

    (_, ours), gradient = jax.jit(jax.value_and_grad(mean_square, has_aux=True))(params)
    torch_networks.copy_parameters(module, params)
    theirs = module.train()(*(_as_torch(x) for x in inputs))
    (theirs**2).mean().backward()
    if theirs.ndim == 4:
        theirs = theirs.permute(0, 2, 3, 1)
    np.testing.assert_allclose(theirs.detach().numpy(), np.asarray(ours), rtol=0, atol=1e-4)
    norms = [float(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(gradient))) ** 0.5]
    norms += [float(sum((x.grad**2).sum() for x in module.parameters())) ** 0.5]
    np.testing.assert_allclose(*norms, rtol=1e-3)


def host_overhead(arrays: int, calls: int = 500) -> float:
    """Seconds of a step without work: a player of so many parameters, each an array of one number."""

    class Tiny(NamedTuple):
        turns: tuple[Turn, ...]
        shape: tuple[int, int, int] = SHAPE
        classes: int = 0

        def init(self, key: jax.Array, batch: Any) -> Any:
            return {"player": {str(i): jnp.ones(()) for i in range(arrays)}}, {"player": {}}

    def loss(params: Any, buffers: Any, batch: Any, key: jax.Array, *, step: Any, ema: Any) -> tuple[jax.Array, Aux]:
        return sum(jax.tree.leaves(params["player"])), Aux({})

    run, _ = our_run(Tiny((Turn("player", loss),)), {"player": Adam()}, np.zeros((1, 1, 1, 1), np.uint8))  # type: ignore[arg-type]
    run(10)
    return min(_seconds(run, 1) for _ in range(calls))


def measure(contest: Contest, settings: Settings) -> str:
    """A row of the table: medians over rounds, milliseconds, and the ratio within rounds."""
    runs = {"ours": contest.ours, **contest.theirs}
    for run in runs.values():
        run(2)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(settings.rounds):
        for name, run in runs.items():
            times[name].append(_seconds(run, settings.steps))
    median = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    best = min(contest.theirs, key=lambda name: median[name])
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times[best], strict=True)]
    return (
        f"| {contest.name} | {median['ours']:.1f} | "
        + " | ".join(f"{median[name]:.1f}" for name in FORMATS)
        + f" | **{statistics.median(ratios):.2f}** | {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def _seconds(run: Run, steps: int) -> float:
    began = time.perf_counter()
    run(steps)
    return (time.perf_counter() - began) / steps


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _as_torch(x: np.ndarray, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    tensor = torch.from_numpy(x)
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=layout) if x.ndim == 4 else tensor


def _count(params: Any) -> str:
    return f"{sum(x.size for x in jax.tree.leaves(params)):,}"


def main(settings: Settings) -> None:
    """Prints the table and the overhead."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *SHAPE), np.uint8)
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, {settings.rounds} rounds of")
    print(
        f"{settings.steps} steps; jax {jax.__version__}, torch {torch.__version__}; batch {BATCH} of {SHAPE}, float32\n"
    )
    print(
        "| train step of | ours, ms | "
        + " | ".join(f"PyTorch {f}, ms" for f in FORMATS)
        + " | PyTorch / ours | per round |"
    )
    print("|---|---|" + "---|" * (len(FORMATS) + 2))
    for contest in (
        ddpm_contest("DDPM `SMALL`", ddpm.SMALL, images),
        ddpm_contest("DDPM on single pixels", ddpm.DDPMConfig(net=Denoiser(channels=32, multipliers=(1, 2))), images),
        dcgan_contest("DCGAN `SMALL`", dcgan.SMALL, images),
    ):
        print(measure(contest, settings), flush=True)
    print(f"\nA step without work, microseconds: {1e6 * host_overhead(64):.0f} with 64 arrays of parameters, ", end="")
    print(f"{1e6 * host_overhead(256):.0f} with 256 (Adam and the average carry three more of each).")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
