# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One denoiser, every sampler
#
# A *process* says how much of the data and how much noise there is at a time: x_t = alpha x_0 + sigma eps. A
# *denoiser* is E[x_0 | x_t]. A *sampler* is a function of both, of the times to visit, of a key and of where to start.
# Nothing else is needed, and no training: of a mixture of normal distributions the denoiser is known, here of eight
# points on a circle.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from gen_jax.diffusion import guidance, langevin, samplers, schedules, solvers, times

ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES, SPREAD = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), 0.1


def denoiser(process, centres=CENTRES):
    """E[x_0 | x_t] of normal distributions around the centres."""

    def denoise(x, t):
        alpha, sigma = process.at(t, x)
        variance = alpha**2 * SPREAD**2 + sigma**2
        apart = x[:, None] - alpha[..., None] * centres
        share = jax.nn.softmax(-(apart**2).sum(-1) / (2 * variance))
        return (share @ centres * sigma**2 + alpha * SPREAD**2 * x) / variance

    return denoise


# %% [markdown]
# ## Paths
#
# Forty points on four processes, along the probability flow: from noise (left) to data (right). Drawn is the first
# coordinate of x / sqrt(alpha^2 + sigma^2), at times that are even in the logarithm of the signal-to-noise ratio.

# %%
PROCESSES = {
    "VP": (schedules.vp(), 1.0, 1e-3),
    "VE": (schedules.ve(most=20.0), 1.0, 1e-3),
    "EDM": (schedules.edm(), 20.0, 0.002),
    "rectified flow": (schedules.rectified_flow(), 0.999, 1e-3),
}
noise = jax.random.normal(jax.random.key(0), (40, 2))
figure, axes = plt.subplots(1, 4, figsize=(12, 2.6), sharey=True, layout="constrained")
for axis, (name, (process, first, last)) in zip(axes, PROCESSES.items()):
    when = jnp.asarray(times.even_log_snr(process, first, last, 40))
    size = jnp.hypot(process.alpha(when), process.sigma(when))

    def step(x, pair, process=process):
        """From one time to the next."""
        x = solvers.heun(process, denoiser(process), jnp.stack(pair), jax.random.key(0), x)
        return x, x

    start = noise * size[0]
    path = jax.lax.scan(step, start, (when[:-1], when[1:]))[1]
    path = jnp.concatenate([start[None], path]) / size[:, None, None]
    axis.plot(path[..., 0], color="tab:blue", linewidth=0.6)
    axis.set(title=name, xlabel="step")
axes[0].set_ylabel("first coordinate")

# %% [markdown]
# They are the same curves at different speeds: a process is a choice of clock and of scale, and a denoiser that was
# trained on one can be sampled on any.
#
# ## Samplers
#
# How far samples are from the exact end of their path, against evaluations of the denoiser, on EDM's process. The exact
# end is that of Heun's rule with 2,000 steps.

# %%
process = schedules.edm()
denoise = denoiser(process)
start = 20.0 * jax.random.normal(jax.random.key(1), (500, 2))


def draw(sampler, steps):
    """The points that the start comes to."""
    when = times.karras(20.0, 0.02, steps, data=None)
    return jax.jit(lambda x: sampler(process, denoise, when, jax.random.key(2), x))(start)


exact = draw(solvers.heun, 2000)
SOLVERS = {  # and evaluations a step
    "DDIM, order 1": (samplers.ddim, 1),
    "Heun, 2": (solvers.heun, 2),
    "DPM-Solver++ 2M, 2": (solvers.dpm_solver_2m, 1),
    "DPM-Solver++ 2S, 2": (solvers.dpm_solver_2s, 2),
    "UniPC 2, 3": (partial(solvers.unipc, order=2), 1),
    "UniPC 3, 4": (partial(solvers.unipc, order=3), 1),
}
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for name, (sampler, each) in SOLVERS.items():
    evaluations = np.array([16, 32, 64, 128])
    errors = [float(jnp.sqrt(jnp.mean((draw(sampler, n // each) - exact) ** 2))) for n in evaluations]
    axis.loglog(evaluations, errors, "o-", label=name)
axis.set(xlabel="evaluations of the denoiser", ylabel="error of a coordinate")
axis.legend(fontsize=8)

# %% [markdown]
# Samplers of the reverse SDE do not follow the flow: they draw new noise, and only the law of what they draw is that of
# the data. The share of samples near each of the eight centres, and their spread around it, should be 1/8 and 0.1.
# (Langevin corrections are left out: the length of their step is found from the norms of a whole image, which say
# little of a point in the plane.)

# %%
STOCHASTIC = {
    "Heun, without noise": solvers.heun,
    "Heun with churn": partial(solvers.heun, churn=40.0),
    "ancestral": partial(samplers.ancestral, variance=samplers.fixed_small),
    "reverse diffusion": partial(langevin.predictor_corrector, corrections=0),
}
start = 20.0 * jax.random.normal(jax.random.key(3), (4000, 2))
for name, sampler in STOCHASTIC.items():
    x = np.asarray(draw(sampler, 100))
    apart = np.linalg.norm(x[:, None] - CENTRES, axis=-1)
    share = np.bincount(apart.argmin(1), minlength=8) / len(x)
    spread = np.sqrt(np.mean(apart.min(1) ** 2) / 2)
    print(f"{name:24} shares {share.min():.3f} to {share.max():.3f}, spread {spread:.3f}")

# %% [markdown]
# ## Guidance
#
# Guidance makes a denoiser of denoisers, and whatever draws from the one draws from the other. Here the class is the
# upper three of the points, and the scale of classifier-free guidance grows: at 0 the samples are those of all eight,
# at 1 those of the class, and beyond they move away from what is not in it, and vary less.

# %%
upper = denoiser(process, CENTRES[1:4])
figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True, sharex=True, layout="constrained")
for axis, scale in zip(axes, (0.0, 1.0, 2.0, 4.0)):
    guided = guidance.classifier_free(upper, denoise, scale=scale)
    x = solvers.heun(process, guided, times.karras(20.0, 0.02, 40, data=None), jax.random.key(4), start[:1000])
    axis.scatter(x[:, 0], x[:, 1], s=2)
    axis.scatter(*CENTRES.T, s=20, marker="x", color="tab:red")
    axis.set(title=f"scale {scale:g}", aspect="equal")
