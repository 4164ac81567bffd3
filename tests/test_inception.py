"""Inception equals the reference, feature by feature, on any number of devices.

``tests/golden/inception.npz`` holds torch-fidelity's features, made by ``tests/parity/make_inception.py`` with the
weights and images of ``inception_state``.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.evaluate.inception import Inception
from gen_jax.evaluate.inception_weights import (
    inception_network,
    state_shapes,
    weights_from_state,
)
from gen_jax.networks.inception import WIDTHS, prepare
from gen_jax.nn.functional import parameter_count
from tests.inception_state import SIZES, pictures, random_state

GOLDEN = pathlib.Path(__file__).parent / "golden" / "inception.npz"


@pytest.fixture(scope="module")
def state():
    return random_state()


@pytest.fixture(scope="module")
def net(state):
    params, buffers = weights_from_state(state)
    return Inception("0" * 16, False, *jax.tree.map(jnp.asarray, (params, buffers)))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def test_sizes():
    params, buffers = jax.eval_shape(inception_network().init, jax.random.key(0))
    size = parameter_count(inception_network().init)
    assert size == 23_850_960 and size - sum(leaf.size for leaf in jax.tree.leaves(params["fc"])) == 21_785_568
    assert sum(leaf.size for leaf in jax.tree.leaves(buffers)) == 2 * 17_216
    assert len(state_shapes()) == 94 * 5 + 2


@pytest.mark.parametrize("name", SIZES)
def test_features_equal_the_reference(net, golden, name):
    found = net.features(pictures(name), tuple(WIDTHS))
    assert {tap: values.shape for tap, values in found.items()} == {tap: (2, width) for tap, width in WIDTHS.items()}
    for tap, values in found.items():
        expected = golden[f"{name}/{tap}"]
        assert values.dtype == expected.dtype == np.float32
        # The worst of all features, as a share of the largest one; and each by itself.
        assert np.abs(values - expected).max() < 1e-5 * np.abs(expected).max(), tap
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5, err_msg=tap)
        # What tells the two images apart is the same too, and is no rounding.
        apart = expected[0] - expected[1]
        assert np.abs(apart).max() > 1e-2 * np.abs(expected).max()
        assert np.abs(values[0] - values[1] - apart).max() < 1e-3 * np.abs(apart).max(), tap


def test_resize_equals_its_definition():
    images = pictures("wide", 1)[..., :1]
    source_y, source_x = (np.arange(299) * side / 299 for side in images.shape[1:3])
    y, x = (
        np.minimum(source.astype(int)[:, None] + [0, 1], side - 1) for source, side in ((source_y, 96), (source_x, 64))
    )
    shares_y, shares_x = source_y % 1, source_x % 1
    pixels = images[0, :, :, 0].astype(float)
    rows = pixels[y[:, 0]] * (1 - shares_y)[:, None] + pixels[y[:, 1]] * shares_y[:, None]
    expected = rows[:, x[:, 0]] * (1 - shares_x) + rows[:, x[:, 1]] * shares_x
    found = prepare(jnp.asarray(images))
    assert found.shape == (1, 299, 299, 3) and found.dtype == np.float32
    for channel in range(3):
        np.testing.assert_allclose(found[0, :, :, channel] * 128 + 128, expected, atol=2e-3)
    own = pictures("own", 1)
    np.testing.assert_array_equal(prepare(jnp.asarray(own)), (own.astype(np.float32) - 128) / 128)


def agree(net, taps, counts, devices, monkeypatch):
    everything = jax.local_devices()
    images = pictures("grey", max(counts))
    for tap in taps:
        network = net.feature_network(tap)
        expected, probabilities = network.extract(images, 8)
        assert expected.shape == (max(counts), WIDTHS[tap]) and np.abs(expected - expected[0]).max() > 0.1
        for number in devices:
            monkeypatch.setattr(jax, "local_devices", lambda number=number: everything[:number])
            for count in counts:
                found = network.extract(images[:count], count)
                assert np.abs(found[0] - expected[:count]).max() < 1e-4, (number, count, tap)
                assert np.abs(found[1] - probabilities[:count]).max() < 1e-4, (number, count, tap)


@pytest.mark.slow
def test_features_depend_on_neither_devices_nor_batches(net, monkeypatch):
    agree(net, ("2048", "64"), (1, 7, 64), (1, 2, 4, 8), monkeypatch)


def test_features_stay_where_their_images_are(net):
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    sharding, everywhere = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axis)) for axis in (("data",), ())
    )
    params, buffers = jax.device_put((net.params, net.buffers), everywhere)
    placed = dataclasses.replace(net, params=params, buffers=buffers)
    found = placed.features(jax.device_put(pictures("small", 2), sharding), ("64",))["64"]
    assert found.sharding.is_equivalent_to(sharding, 2)
    assert {shard.data.shape for shard in found.addressable_shards} == {(1, 64)}
    np.testing.assert_allclose(found, net.features(pictures("small", 2), ("64",))["64"], rtol=1e-5, atol=1e-6)


def test_the_rulers_network(net):
    network = net.feature_network()
    assert (network.name, network.hash, network.resize) == ("inception-0000", "0" * 16, "TF1 bilinear to 299")
    assert dataclasses.replace(net, is_reference=True).feature_network().name == "inception"
    assert dataclasses.replace(net, is_reference=True).feature_network("768").name == "inception-768"
    features, probabilities = network.extract(pictures("small", 1), 1)
    expected = net.features(pictures("small", 1))
    np.testing.assert_allclose(features, expected["2048"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(expected["logits_unbiased"]), atol=1e-6)
    with pytest.raises(ValueError, match="taps of Inception are"):
        net.feature_network("pool3")


def test_features_inside_a_program_with_weights_as_arguments(net):
    def total(params, buffers, images):
        return dataclasses.replace(net, params=params, buffers=buffers).features(images, ("64",))["64"].sum()

    images = pictures("small", 1)
    inside = jax.jit(total)(net.params, net.buffers, images)
    np.testing.assert_allclose(inside, net.features(images, ("64",))["64"].sum(), rtol=1e-5)
    assert len(jax.make_jaxpr(total)(net.params, net.buffers, images).consts) == 0


def test_grey_is_red_green_and_blue(net):
    images = pictures("grey")
    coloured = net.features(images.repeat(3, -1), ("64",))["64"]
    np.testing.assert_allclose(net.features(images, ("64",))["64"], coloured, rtol=1e-5, atol=1e-6)


def test_what_is_refused(net):
    with pytest.raises(ValueError, match="uint8 images, got float32"):
        net.features(pictures("small").astype(np.float32))
    for wrong in (pictures("small")[0], pictures("small")[..., :2], pictures("small")[:0]):
        with pytest.raises(ValueError, match=r"\[B, H, W, 1\] or \[B, H, W, 3\]"):
            net.features(wrong)
    with pytest.raises(ValueError, match=r"taps of Inception are 64, 192, .*; got pool3"):
        net.features(pictures("small"), ("pool3",))
    with pytest.raises(ValueError, match="not trained"):
        inception_network().apply(net.params, net.buffers, prepare(jnp.asarray(pictures("small"))), ("64",), train=True)
