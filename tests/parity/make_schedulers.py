"""Writes tests/golden/schedulers.npz: where diffusers' schedulers go with the models of ``tests.scheduler_cases``.

``python -m tests.parity.make_schedulers``, in an environment with diffusers (0.42) and PyTorch. Of every case there are
``inputs``, all that the model was asked about, and the ``output``. All is float64, but the schedulers' own tables.
"""

import contextlib
import pathlib
from unittest import mock

import diffusers
import numpy as np
import torch

from tests.scheduler_cases import (
    CASES,
    RATIO,
    SIGMA_MAX,
    SIGMA_MIN,
    STEPS,
    VE_MAX,
    VE_MIN,
    dummy,
    mixture,
    noises,
    start,
)

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "schedulers.npz"
DPM = {"lower_order_final": False}
OPTIONS = {  # of the scheduler of the case's group
    "ddpm/fixed_small": {"clip_sample": False},
    "ddpm/fixed_small_clip": {},
    "ddpm/fixed_large": {"clip_sample": False, "variance_type": "fixed_large"},
    "ddpm/trailing": {"clip_sample": False, "timestep_spacing": "trailing"},
    "ddpm/cosine": {"clip_sample": False, "beta_schedule": "squaredcos_cap_v2"},
    "ddpm/sigmoid": {"clip_sample": False, "beta_schedule": "sigmoid"},
    "ddim/leading": {"clip_sample": False},
    "ddim/trailing": {"clip_sample": False, "timestep_spacing": "trailing"},
    "ddim/clip": {},
    "ddim/eta_one_leading": {"clip_sample": False},
    "ddim/eta_one_trailing": {"clip_sample": False, "timestep_spacing": "trailing"},
    "ddim/eta_one_clip": {"timestep_spacing": "trailing"},
    "ddim/scaled_linear": {
        "clip_sample": False, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    },
    "ddim/zero_terminal_snr": {
        "clip_sample": False, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    },
    "ddim/dummy": {},
    "dpm_solver/1": {"solver_order": 1, **DPM},
    "dpm_solver/2": DPM,
    "dpm_solver/2_to_sigma_min": {"final_sigmas_type": "sigma_min", **DPM},
    "dpm_solver/2_karras": {"use_karras_sigmas": True, **DPM},
    "dpm_solver/2_even_log_snr": {"use_lu_lambdas": True, **DPM},
    "dpm_solver/2_thresholded": {
        "thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.7, **DPM,
    },
    "dpm_solver/2_dummy": {"final_sigmas_type": "sigma_min", **DPM},
    "unipc/2_karras": {"use_karras_sigmas": True},
    "heun/chain": {"beta_start": 1e-4, "beta_end": 0.02},
    "heun/karras": {"beta_start": 1e-4, "beta_end": 0.02, "use_karras_sigmas": True},
    "edm_euler/karras": {"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX},
    "flow/euler": {},
    "ve/predictor": {"sigma_min": VE_MIN, "sigma_max": VE_MAX, "snr": RATIO},
    "ve/corrector": {"sigma_min": VE_MIN, "sigma_max": VE_MAX, "snr": RATIO},
}  # fmt: skip
SCHEDULERS = {
    "ddpm": diffusers.DDPMScheduler,
    "ddim": diffusers.DDIMScheduler,
    "dpm_solver": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "edm_euler": diffusers.EDMEulerScheduler,
    "flow": diffusers.FlowMatchEulerDiscreteScheduler,
    "ve": diffusers.ScoreSdeVeScheduler,
}


def make(case):
    """The scheduler of a case, its steps set."""
    group, name = case.split("/")
    options = OPTIONS.get(case, {})
    if group == "unipc" and case not in OPTIONS:
        options = {"solver_order": int(name[0]), "solver_type": name[2:]}
    scheduler = SCHEDULERS[group](**options)
    if group == "ve":
        scheduler.set_timesteps(STEPS)
        scheduler.set_sigmas(STEPS, VE_MIN, VE_MAX)
    else:
        scheduler.set_timesteps(STEPS)
    return scheduler


def denoised(x, alpha, sigma):
    return mixture(x, alpha, sigma, torch.tanh)


def levels(scheduler, t):
    """alpha and sigma of the step that is now, for a process that preserves variance."""
    if hasattr(scheduler, "sigmas"):
        if scheduler.step_index is None:
            scheduler._init_step_index(t)
        ratio = scheduler.sigmas[scheduler.step_index].double()
        return 1 / torch.sqrt(1 + ratio**2), ratio / torch.sqrt(1 + ratio**2)
    alpha_bar = scheduler.alphas_cumprod[t].double()
    return torch.sqrt(alpha_bar), torch.sqrt(1 - alpha_bar)


def predicted(scheduler, x, t):
    """The mixture's prediction of the kind that the scheduler is set to."""
    alpha, sigma = levels(scheduler, t)
    x_0 = denoised(x, alpha, sigma)
    if scheduler.config.prediction_type == "v_prediction":
        noise = (x - alpha * x_0) / sigma
        return alpha * noise - sigma * x_0
    return (x - alpha * x_0) / sigma


def run_preserving(case, scheduler, x):
    """DDPM, DDIM, DPM-Solver++, UniPC and Heun's rule."""
    group, asked = case.split("/")[0], []
    options = {"use_clipped_model_output": True, "eta": float("eta_one" in case)} if group == "ddim" else {}
    if group == "heun":
        x = x * scheduler.sigmas[0].double()
    for i, t in enumerate(scheduler.timesteps):
        if group == "unipc":  # ours lowers the order of the step into the data, and of no other
            scheduler.register_to_config(lower_order_final=i == STEPS - 1)
        seen = scheduler.scale_model_input(x, t).double()
        asked.append(seen)
        output = dummy(seen, t) if "dummy" in case else predicted(scheduler, seen, t)
        x = scheduler.step(output, t, x, **options).prev_sample.double()
    return asked, x


def run_edm(case, scheduler, x):
    """Euler's rule of a preconditioned network."""
    asked, x = [], x * scheduler.sigmas[0].double()
    data = scheduler.config.sigma_data
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        sigma = scheduler.sigmas[scheduler.step_index].double()
        asked.append(x)
        skip, out = data**2 / (sigma**2 + data**2), sigma * data / torch.sqrt(sigma**2 + data**2)
        network = (denoised(x, torch.ones(()), sigma) - skip * x) / out
        x = scheduler.step(network, t, x).prev_sample
    return asked, x


def run_flow(case, scheduler, x):
    """Euler's rule on straight paths, from noise alone to the data."""
    asked = []
    for t in scheduler.timesteps:
        sigma = t.double() / 1000
        asked.append(x)
        x_0 = denoised(x, 1 - sigma, sigma)
        x = scheduler.step((x - x_0) / sigma, t, x).prev_sample
    return asked, x


def run_exploding(case, scheduler, x):
    """Reverse diffusion, with Langevin steps or without."""
    asked, x = [], x * VE_MAX

    def score(x, sigma):
        asked.append(x)
        return (denoised(x, torch.ones(()), sigma) - x) / sigma**2

    for t, sigma in zip(scheduler.timesteps, scheduler.discrete_sigmas.double().flip(0), strict=True):
        if case == "ve/corrector":
            x = scheduler.step_correct(score(x, sigma), x).prev_sample
        step = scheduler.step_pred(score(x, sigma), t, x)
        x = step.prev_sample
    return asked, step.prev_sample_mean


def references(case):
    """``inputs [evaluations, ...]`` and, where diffusers has one, ``output`` of a case.

    Its bh1 ends at numbers that are none: the last step, to a noise of 0, multiplies infinity by nothing.
    """
    noise, x = noises(case), torch.from_numpy(start(case))
    group = case.split("/")[0]
    run = {"edm_euler": run_edm, "flow": run_flow, "ve": run_exploding}.get(group, run_preserving)

    def drawn(*args, **kwargs):
        return torch.from_numpy(next(noise))

    with contextlib.ExitStack() as patches:
        for name in ("ddpm", "ddim", "ve"):
            patches.enter_context(mock.patch(f"{SCHEDULERS[name].__module__}.randn_tensor", drawn))
        asked, x = run(case, make(case), x)
    found = {"inputs": torch.stack(asked)} | ({"output": x} if torch.isfinite(x).all() else {})
    return {key: value.numpy().astype(np.float32) for key, value in found.items()}


def main():
    found = {f"{case}/{key}": value for case in CASES for key, value in references(case).items()}
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
