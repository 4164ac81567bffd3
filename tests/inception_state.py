"""Random weights for Inception, the same for whoever asks: what the reference and this library are both given.

Kernels are He normal, so that activations keep their size; gammas, betas, means and variances are such that every one
of them matters.
"""

import hashlib

import numpy as np

from gen_jax.evaluate.inception_weights import state_shapes


def random_state(seed=0):
    """A state dictionary by PyTorch's names and in its layout, float32."""
    state = {}
    for name, shape in state_shapes().items():
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        draw = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        if name.endswith("running_var"):
            values = draw.uniform(0.5, 2, shape)
        elif name.endswith("bn.weight"):
            values = draw.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            values = 0.2 * draw.standard_normal(shape)
        else:
            values = draw.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        state[name] = values.astype(np.float32)
    return state


# What is measured: height, width, channels, by the name in tests/golden/inception.npz.
SIZES = {"small": (32, 32, 3), "grey": (28, 28, 1), "wide": (96, 64, 3), "own": (299, 299, 3), "large": (320, 310, 3)}


def pictures(name, n=2, seed=0):
    """uint8 images ``[n, H, W, C]``: waves of several lengths, under noise that differs from image to image."""
    height, width, channels = SIZES[name]
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    draw = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = draw.uniform(-12, 12, (2, n, 1, 1, channels)) * np.stack([y, x])[:, None, :, :, None]
    values = (
        128
        + 90 * np.sin(waves.sum(0))
        + draw.uniform(5, 60, (n, 1, 1, 1)) * draw.standard_normal((n, height, width, channels))
    )
    return np.clip(values.round(), 0, 255).astype(np.uint8)
