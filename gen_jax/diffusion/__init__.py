"""Diffusion without networks: a process, times, samplers, guidance and the variational bound.

The one currency is a denoiser, ``denoise(x_t, t) -> E[x_0 | x_t]`` with ``x_t [B, ...]`` and ``t [B]``.
"""
