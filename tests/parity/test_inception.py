"""Inception beside torch-fidelity's and pytorch-fid's, with the same random weights, by way of PyTorch's own files."""

import numpy as np
import pytest
import torch

from gen_jax.evaluate.inception import load_inception
from gen_jax.evaluate.inception_weights import inception_network
from tests.inception_state import SIZES, pictures, random_state
from tests.parity import references

SEED = 1  # other weights and images than those of the golden file


@pytest.fixture(scope="module")
def state():
    return random_state(SEED)


def saved(state, folder, is_zip):
    path = folder / "inception.pth"
    torch.save(references.as_torch(state), path, _use_new_zipfile_serialization=is_zip)
    return load_inception(path)


@pytest.fixture(scope="module")
def net(state, tmp_path_factory):
    return saved(state, tmp_path_factory.mktemp("weights"), True)


@pytest.fixture(scope="module")
def fidelity(state):
    return references.torch_fidelity_network(state)


@pytest.fixture(scope="module")
def double(state):
    return references.torch_fidelity_network(state, torch.float64)


@pytest.mark.parametrize("name", SIZES)
def test_every_feature(net, fidelity, double, name):
    images = pictures(name, seed=SEED)
    found = net.features(images, references.TAPS)
    expected = references.torch_fidelity_features(fidelity, images)
    exact = references.torch_fidelity_features(double, images)
    for tap in references.TAPS:
        ours, theirs = np.asarray(found[tap]), expected[tap]
        largest = np.abs(theirs).max()
        print(
            f"\n{name:6} {tap:16} largest difference / largest feature {np.abs(ours - theirs).max() / largest:.1e}; "
            f"from float64: ours {np.abs(ours - exact[tap]).max() / largest:.1e}, "
            f"theirs {np.abs(theirs - exact[tap]).max() / largest:.1e}",
            end="",
        )
        assert np.abs(ours - theirs).max() < 1e-5 * largest
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        # Both are rounded in their own ways, and neither is far from what float64 gives.
        assert np.abs(ours - exact[tap]).max() < 5e-6 * largest


def test_both_formats_of_files(net, state, tmp_path):
    other = saved(state, tmp_path, False)
    assert other.hash == net.hash
    for module, name in (("Conv2d_1a_3x3", "kernel"), ("fc", "bias")):
        np.testing.assert_array_equal(other.params[module][name], net.params[module][name])


def test_pytorch_fid_differs_by_its_centre_alone(net, state):
    """Where nothing is resized: pixels are centred at 127.5 there and at 128 here."""
    own = pictures("own", seed=SEED)
    theirs = references.pytorch_fid_features(references.pytorch_fid_network(state), own)
    centred = (own.astype(np.float32) - 127.5) / 127.5
    ours = inception_network().apply(net.params, net.buffers, centred, ("2048",))[0]["2048"]
    largest = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() < 1e-5 * largest
    assert np.abs(net.features(own, ("2048",))["2048"] - theirs).max() > 1e-4 * largest
