"""Seconds to sample an image, ours and diffusers', taken in turns in one run; and ours beside diffrax's fixed steps.

    python -m benchmarks.sampling --rounds 5

Fifty steps of DDIM with the U-Net of Ho et al. at the same weights and from the same noise: ours is one compiled
program, diffusers' the loop of its pipeline in inference mode, in both of PyTorch's memory formats and with the number
of threads that suits it. Then the probability flow of that network by our rules and by diffrax's. First both sides must
give the same images.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffrax
import diffusers
import jax
import numpy as np
import torch
import tyro

from gen_jax.diffusion import samplers, schedules, solvers, times
from gen_jax.diffusion.process import Denoise, Process, V, denoiser
from gen_jax.networks.unet import UNet
from gen_jax.nn.functional import network
from gen_jax.nn.layers import group_count
from gen_jax.programs import Program
from tests.diffusers_weights import diffusers_name, values

SIDE, CHANNELS, MULTIPLIERS, ATTENTION = 32, 3, (1, 2, 2, 2), 16
FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
FLOW = (0.95, 0.05)  # from and to which times of the path that preserves variance

Sample = Callable[[np.ndarray], np.ndarray]  # noise [B, H, W, C] -> images


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long."""

    rounds: int = 5
    """Times that every contestant is timed, in turns."""
    steps: int = 50
    """Of DDIM."""
    bases: tuple[int, ...] = (32,)
    """Widths of the first level."""
    batches: tuple[int, ...] = (1, 8)
    """Images at a time."""
    evaluations: int = 24
    """Of the network, in the comparison with diffrax."""
    blocks: int = 1
    """Residual blocks per level."""


def networks(base: int, blocks: int) -> tuple[Callable[..., Any], Any, diffusers.UNet2DModel]:
    """Ours with its parameters, and diffusers', of the same random weights."""
    net = network(
        UNet,
        size=(SIDE, SIDE),
        channels=CHANNELS,
        base=base,
        multipliers=MULTIPLIERS,
        blocks=blocks,
        attention=(ATTENTION,),
    )
    theirs = diffusers.UNet2DModel(
        sample_size=SIDE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        layers_per_block=blocks,
        block_out_channels=tuple(base * m for m in MULTIPLIERS),
        down_block_types=_where_attended("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=_where_attended("UpBlock2D", "AttnUpBlock2D")[::-1],
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        attention_head_dim=None,
    )
    for module in theirs.modules():  # theirs has one number of groups for all widths
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = group_count(module.num_channels)
    state = {name: values(name, tuple(value.shape)) for name, value in theirs.state_dict().items()}
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    params, buffers = jax.eval_shape(net.init, jax.random.key(0))

    def ours(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        value = state[diffusers_name(".".join(part.key for part in path), skips=False)]
        return value.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[leaf.ndim])

    params = jax.tree_util.tree_map_with_path(ours, params)
    if jax.tree.leaves(buffers):
        raise ValueError("expected a network without buffers")
    return lambda params, x, t: net.apply(params, buffers, x, t)[0], params, theirs.eval()


def _where_attended(plain: str, attended: str) -> tuple[str, ...]:
    return tuple(attended if SIDE >> level == ATTENTION else plain for level in range(len(MULTIPLIERS)))


def our_sampler(apply: Callable[..., Any], params: Any, sample: Callable[..., jax.Array]) -> Sample:
    """``sample(predict, x)`` compiled, with the parameters as an argument."""
    run = Program(lambda params, x: sample(partial(apply, params), x))
    placed = jax.device_put(params)
    return lambda x: np.asarray(run(placed, x))


def our_ddim(steps: int, predict: Callable[..., jax.Array], x: jax.Array) -> jax.Array:
    """DDIM on diffusers' linear chain at its leading times.

    The network gives v, which at random weights keeps images bounded without clipping.
    """
    chain = schedules.discrete(schedules.linear_betas(1000))
    return samplers.ddim(chain, denoiser(chain, predict, V), times.leading(1000, steps), jax.random.key(0), x)


def their_ddim(net: diffusers.UNet2DModel, steps: int, layout: torch.memory_format) -> Sample:
    """The loop of diffusers' pipeline, without its conversion to 8 bits."""
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)

    def run(noise: np.ndarray) -> np.ndarray:
        net.to(memory_format=layout)
        x = torch.from_numpy(noise).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        scheduler.set_timesteps(steps)
        with torch.inference_mode():
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return x.permute(0, 2, 3, 1).numpy()

    return run


def heun_rule(slope: solvers.Slope, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Heun's, in time."""
    first = slope(x, t)
    return x + 0.5 * (s - t) * (first + slope(x + (s - t) * first, s))


def flows(evaluations: int) -> dict[str, tuple[Callable[..., jax.Array], Callable[..., jax.Array], bool]]:
    """Of every rule ours, diffrax's, and whether they are the same."""
    path = schedules.vp()

    def denoise(predict: Callable[..., jax.Array]) -> Denoise:
        return denoiser(path, lambda x, t: predict(x, 999 * t), V)

    def ours(rule: solvers.Rule, stages: int) -> Callable[..., jax.Array]:
        when = times.even(*FLOW, evaluations // stages)
        return lambda predict, x: solvers.flow(path, denoise(predict), when, jax.random.key(0), x, rule=rule)

    def theirs(rule: diffrax.AbstractSolver, stages: int) -> Callable[..., jax.Array]:
        return lambda predict, x: _by_diffrax(path, denoise(predict), rule, evaluations // stages, x)

    return {
        "Euler": (ours(solvers.euler_rule, 1), theirs(diffrax.Euler(), 1), True),
        "midpoint": (ours(solvers.midpoint_rule, 2), theirs(diffrax.Midpoint(), 2), True),
        "Heun": (ours(heun_rule, 2), theirs(diffrax.Heun(), 2), True),
        "Runge-Kutta 4 / Tsitouras 5": (ours(solvers.runge_kutta_rule, 4), theirs(diffrax.Tsit5(), 6), False),
    }


def _by_diffrax(path: Process, denoise: Denoise, rule: diffrax.AbstractSolver, steps: int, x: jax.Array) -> jax.Array:
    first, last = FLOW
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: path.flow(denoise, x, t)), rule, first, last, (last - first) / steps, x
    )
    assert solution.ys is not None
    return solution.ys[0]


def quickest_threads(net: diffusers.UNet2DModel, noise: np.ndarray) -> int:
    """One thread or one per core, whichever is quicker: beside other load, PyTorch's wait for each other."""
    cores, found = len(os.sched_getaffinity(0)), {}
    run = their_ddim(net, 3, FORMATS["NHWC"])
    for threads in {1, cores}:
        torch.set_num_threads(threads)
        run(noise)
        found[threads] = min(measure({"run": run}, noise, 3)["run"])
    return min(found, key=found.__getitem__)


def measure(contestants: dict[str, Sample], noise: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds per image of every contestant in every round, in turns."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run(noise)
            found[name].append((time.perf_counter() - began) / len(noise))
    return found


def row(label: str, found: dict[str, list[float]], others: list[str]) -> str:
    """Medians in milliseconds, and the ratio of the better of the others to ours within rounds."""
    median = {name: 1e3 * statistics.median(seconds) for name, seconds in found.items()}
    best = min(others, key=median.__getitem__)
    ratios = [theirs / ours for ours, theirs in zip(found["ours"], found[best], strict=True)]
    cells = " | ".join(f"{value:.1f}" for value in median.values())
    return f"| {label} | {cells} | **{statistics.median(ratios):.2f}** | {min(ratios):.2f} to {max(ratios):.2f} |"


def noise_of(batch: int) -> np.ndarray:
    """Where samplers start."""
    return np.random.default_rng(0).standard_normal((batch, SIDE, SIDE, CHANNELS), np.float32)


def against_diffusers(settings: Settings) -> None:
    """Prints a row for every width and batch."""
    columns = "ours, ms | diffusers NCHW, ms | diffusers NHWC, ms | diffusers / ours | per round"
    print(f"| {settings.steps} steps of DDIM | {columns} |")
    print("|---|---|---|---|---|---|")
    for base in settings.bases:
        apply, params, net = networks(base, settings.blocks)
        contestants: dict[str, Sample] = {"ours": our_sampler(apply, params, partial(our_ddim, settings.steps))}
        contestants |= {name: their_ddim(net, settings.steps, layout) for name, layout in FORMATS.items()}
        for batch in settings.batches:
            noise = noise_of(batch)
            torch.set_num_threads(quickest_threads(net, noise))
            images = {name: run(noise) for name, run in contestants.items()}
            for name in FORMATS:
                np.testing.assert_allclose(images["ours"], images[name], atol=2e-3)
            count, threads = sum(x.size for x in jax.tree.leaves(params)), torch.get_num_threads()
            label = f"base {base}, {count:,} parameters, batch {batch}, PyTorch with {threads} thread(s)"
            print(row(label, measure(contestants, noise, settings.rounds), list(FORMATS)), flush=True)


def against_diffrax(settings: Settings) -> None:
    """Prints a row for every rule."""
    apply, params, _ = networks(settings.bases[0], settings.blocks)
    noise = noise_of(settings.batches[-1])
    print(f"\n| {settings.evaluations} evaluations by | ours, ms | diffrax, ms | diffrax / ours | per round |")
    print("|---|---|---|---|---|")
    for name, (ours, theirs, same) in flows(settings.evaluations).items():
        contestants = {side: our_sampler(apply, params, f) for side, f in (("ours", ours), ("diffrax", theirs))}
        images = {side: run(noise) for side, run in contestants.items()}
        if same:
            np.testing.assert_allclose(images["ours"], images["diffrax"], atol=2e-3)
        print(row(name, measure(contestants, noise, settings.rounds), ["diffrax"]), flush=True)


def main(settings: Settings) -> None:
    """Prints the two tables."""
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f};")
    print(f"jax {jax.__version__}, torch {torch.__version__}, diffusers {diffusers.__version__},", end=" ")
    print(
        f"diffrax {diffrax.__version__}; images of {SIDE}x{SIDE}, float32; milliseconds per image, medians of", end=" "
    )
    print(f"{settings.rounds} rounds\n")
    against_diffusers(settings)
    against_diffrax(settings)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
