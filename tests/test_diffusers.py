"""Networks beside diffusers', on the same weights: Ho's U-Net at full size, the others with two levels or layers."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.networks.adm import ADM
from gen_jax.networks.ddpmpp import SongUNet
from gen_jax.networks.dit import DiT
from gen_jax.networks.ncsnpp import FromLevels, InputSkip
from gen_jax.networks.unet import UNet
from gen_jax.nn.embed import RandomSinusoids
from gen_jax.nn.functional import network
from gen_jax.nn.resample import FIR
from tests.diffusers_weights import SHAPES, diffusers_dit_name, diffusers_name, inputs, values

GOLDEN = pathlib.Path(__file__).parent / "golden" / "diffusers.npz"
SMALL = {"multipliers": (1, 2), "blocks": 1, "attention": (8,)}
CASES = {
    "ddpm": (UNet, {"base": 128, "multipliers": (1, 2, 2, 2), "blocks": 2, "attention": (16,)}),
    "adm": (ADM, {"base": 128, "classes": 10, **SMALL}),
    "ncsnpp": (
        SongUNet,
        {"base": 64, "features": RandomSinusoids, "resampler": FIR, "feed": InputSkip, "head": FromLevels, **SMALL},
    ),
    "dit": (DiT, {"patch": 2, "width": 16, "layers": 2, "heads": 2, "outputs": 8, "classes": 10}),
}


def given(shapes, rename):
    """diffusers' names of ``shapes``, and the values that it was given."""
    names = []

    def value(path, leaf):
        names.append(rename(".".join(part.key for part in path[1:])))  # [0]: parameter or buffer
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]  # ours to theirs
        if names[-1] == "pos_embed.proj.weight":  # a convolution of patches, of 2 x 2 pixels with 4 channels
            return values(names[-1], (leaf.shape[1], 4, 2, 2)).transpose(2, 3, 1, 0).reshape(leaf.shape)
        if path[-1].key == "table":
            order = (0, 1)
        there = values(names[-1], tuple(leaf.shape[i] for i in order))
        return there.transpose(np.argsort(order))

    return names, jax.tree_util.tree_map_with_path(value, shapes)


@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_give_the_same_output(case):
    module, options = CASES[case]
    *size, channels = SHAPES[case]
    net = network(module, size=tuple(size), channels=channels, **options)
    rename = diffusers_dit_name if case == "dit" else functools.partial(diffusers_name, skips=case == "ncsnpp")
    names, (params, buffers) = given(jax.eval_shape(net.init, jax.random.key(0)), rename)
    with np.load(GOLDEN) as golden:
        assert sorted(names) == golden[f"{case}/names"].tolist()
        expected = golden[f"{case}/output"]
    x, t = inputs(case)
    label = jnp.array([7, 2]) if "classes" in options else None
    if case == "ncsnpp":  # theirs takes the logarithm of a noise and divides by the noise
        t, expected = np.log(t), expected * t[:, None, None, None]
    if case == "dit":  # theirs has other frequencies
        t = 0 * t
    output, _ = jax.jit(net.apply)(params, buffers, x, t, label)
    np.testing.assert_allclose(output, expected, atol=1e-4 * expected.std())
