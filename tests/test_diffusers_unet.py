"""U-Nets beside diffusers', on the same weights: Ho's at full size, ADM's and NCSN++'s with two levels."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn.adm import ADM
from gen_jax.nn.embed import RandomSinusoids
from gen_jax.nn.functional import network
from gen_jax.nn.ncsnpp import FromLevels, InputSkip
from gen_jax.nn.resample import FIR
from gen_jax.nn.song import SongUNet
from gen_jax.nn.unet import UNet
from tests.unet_weights import SHAPES, diffusers_name, inputs, values

GOLDEN = pathlib.Path(__file__).parent / "golden" / "diffusers_unet.npz"
SMALL = {"multipliers": (1, 2), "blocks": 1, "attention": (8,)}
CASES = {
    "ddpm": (UNet, {"base": 128, "multipliers": (1, 2, 2, 2), "blocks": 2, "attention": (16,)}),
    "adm": (ADM, {"base": 128, "classes": 10, **SMALL}),
    "ncsnpp": (
        SongUNet,
        {"base": 64, "features": RandomSinusoids, "resampler": FIR, "feed": InputSkip, "head": FromLevels, **SMALL},
    ),
}


def given(shapes, *, skips):
    """diffusers' names of ``shapes``, and the values that it was given."""
    names = []

    def value(path, leaf):
        names.append(diffusers_name(".".join(part.key for part in path[1:]), skips=skips))  # [0]: buffer or not
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]  # ours to theirs
        if path[-1].key == "table":
            order = (0, 1)
        there = values(names[-1], tuple(leaf.shape[i] for i in order))
        return there.transpose(np.argsort(order))

    return names, jax.tree_util.tree_map_with_path(value, shapes)


@pytest.mark.parametrize("case", CASES)
def test_the_same_weights_give_the_same_output(case):
    module, options = CASES[case]
    side, _, channels = SHAPES[case]
    net = network(module, side=side, channels=channels, **options)
    names, (params, buffers) = given(jax.eval_shape(net.init, jax.random.key(0)), skips=case == "ncsnpp")
    with np.load(GOLDEN) as golden:
        assert sorted(names) == golden[f"{case}/names"].tolist()
        expected = golden[f"{case}/output"]
    x, t = inputs(case)
    label = jnp.array([7, 2]) if case == "adm" else None
    if case == "ncsnpp":  # theirs takes the logarithm of a noise and divides by the noise
        t, expected = np.log(t), expected * t[:, None, None, None]
    output, _ = jax.jit(net.apply)(params, buffers, x, t, label)
    np.testing.assert_allclose(output, expected, atol=1e-4 * expected.std())
