"""Ho's U-Net beside diffusers', at full size."""

import pathlib

import jax
import numpy as np

from gen_jax.nn.functional import network
from gen_jax.nn.unet import UNet
from tests.unet_weights import diffusers_name, inputs, values

GOLDEN = pathlib.Path(__file__).parent / "golden" / "diffusers_unet.npz"


def test_the_same_weights_give_the_same_noise():
    net = network(UNet, side=32, channels=3, base=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,))
    shapes, buffers = jax.eval_shape(net.init, jax.random.key(0))
    names = []

    def given(path, leaf):
        names.append(diffusers_name(".".join(part.key for part in path)))
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]  # ours to theirs
        there = values(names[-1], tuple(leaf.shape[i] for i in order))
        return there.transpose(np.argsort(order))

    params = jax.tree_util.tree_map_with_path(given, shapes)
    with np.load(GOLDEN) as golden:
        assert sorted(names) == golden["names"].tolist()
        expected = golden["output"]
    output, _ = jax.jit(net.apply)(params, buffers, *inputs())
    np.testing.assert_allclose(output, expected, atol=1e-4 * expected.std())
