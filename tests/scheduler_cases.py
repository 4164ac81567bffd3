"""What diffusers' schedulers and our samplers are both given: a start, noise, models, and the names of the cases.

Models are written for any array, with the ``tanh`` that goes with it.
"""

import numpy as np

STEPS = 10
SHAPE = (4, 3, 2)  # of a batch; one of a single example for the corrector, whose steps are theirs of a whole batch
MEAN, SPREAD = 1.0, 0.5  # of the mixture's two equal components N(-MEAN, SPREAD^2) and N(MEAN, SPREAD^2)
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # of EDM
VE_MIN, VE_MAX, RATIO = 0.01, 50.0, 0.16  # the exploding process, and the signal-to-noise ratio of its corrector

CASES = (
    "ddpm/fixed_small", "ddpm/fixed_small_clip", "ddpm/fixed_large", "ddpm/trailing", "ddpm/cosine", "ddpm/sigmoid",
    "ddim/leading", "ddim/trailing", "ddim/clip", "ddim/eta_one_leading", "ddim/eta_one_trailing", "ddim/eta_one_clip",
    "ddim/scaled_linear", "ddim/zero_terminal_snr", "ddim/dummy",
    "dpm_solver/1", "dpm_solver/2", "dpm_solver/2_to_sigma_min", "dpm_solver/2_karras", "dpm_solver/2_even_log_snr",
    "dpm_solver/2_thresholded", "dpm_solver/2_dummy",
    "unipc/1_bh1", "unipc/1_bh2", "unipc/2_bh1", "unipc/2_bh2", "unipc/3_bh1", "unipc/3_bh2", "unipc/2_karras",
    "heun/chain", "heun/karras", "edm_euler/karras", "flow/euler", "ve/predictor", "ve/corrector",
)  # fmt: skip


def start(case):
    """``x`` of unit variance, float64."""
    return np.random.default_rng(0).standard_normal((1, *SHAPE[1:]) if case == "ve/corrector" else SHAPE)


def noises(case):
    """Standard normal draws without end, in the order in which they are needed."""
    draws = np.random.default_rng(1)
    while True:
        yield draws.standard_normal(start(case).shape)


def mixture(x, alpha, sigma, tanh):
    """``E[x_0 | alpha x_0 + sigma eps = x]`` of the mixture."""
    variance = (alpha * SPREAD) ** 2 + sigma**2
    return (alpha * SPREAD**2 * x + sigma**2 * MEAN * tanh(alpha * MEAN * x / variance)) / variance


def dummy(x, t):
    """The made-up network of diffusers' own tests."""
    return x * t / (t + 1)
