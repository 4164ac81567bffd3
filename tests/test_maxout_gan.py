"""The GANs of 2014: their sizes, maxout by hand, dropout by its moments, ranges and labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.fields import REAL, SYMBOL, Field, images
from gen_jax.losses import adversarial
from gen_jax.models import CGANConfig, MaxoutGANConfig, cgan, maxout_gan
from gen_jax.networks import cgan as labelled
from gen_jax.networks.maxout_gan import Critic, Generator
from gen_jax.nn.functional import network, parameter_count

POINTS = {"point": Field((2,), REAL), "label": Field((), SYMBOL, 3)}


def large(params):
    """Weights large enough to matter, of the same shapes."""
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda a: draw(size=a.shape).astype(np.float32), params)


def normals(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_reference_sizes():
    model = maxout_gan.REFERENCE.build(images((28, 28, 1)))
    assert parameter_count(model.generator.init) == 2_503_984
    assert parameter_count(model.critics[0].network.init) == 1_231_441
    model = cgan.REFERENCE.build(images((28, 28, 1), 10))
    dense = [(100, 200), (10, 1000), (1200, 1200), (1200, 784)]
    assert parameter_count(model.generator.init) == sum(a * b + b for a, b in dense)
    dense = [(784, 240 * 5), (10, 50 * 5), (290, 240 * 4), (240, 1)]
    assert parameter_count(model.critics[0].network.init) == sum(a * b + b for a, b in dense)


def test_a_maxout_critic_by_hand():
    net = network(Critic, shape=(2, 2, 1), hidden=(3, 2), pieces=4, limit=1.0)
    params = large(jax.eval_shape(net.init, jax.random.key(0))[0])
    x = np.random.default_rng(0).uniform(-1, 1, (5, 2, 2, 1)).astype(np.float32)
    h = np.asarray((x.reshape(5, 4) + 1) / 2, np.float64)
    for layer, units in (("0", 3), ("1", 2)):
        maps = jax.tree.map(lambda a: np.asarray(a, np.float64), params["layers"][layer]["maps"])
        pieces = [h @ maps["kernel"][:, i * 4 + p] + maps["bias"][i * 4 + p] for i in range(units) for p in range(4)]
        h = np.stack([np.max(pieces[i * 4 : i * 4 + 4], axis=0) for i in range(units)], axis=1)
    expected = h @ np.asarray(params["head"]["kernel"])[:, 0] + np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(net.apply(params, {}, x)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("hidden, shares", [((), (0.2, 0.0)), ((6,), (0.0, 0.5))])
def test_dropout_keeps_the_mean_and_has_its_variance(hidden, shares):
    """Of w'h with a share s of h dropped: the variance is sum (w h)^2 s / (1 - s), here of the input or of a layer."""
    options = {"input_dropout": shares[0], "dropout": shares[1]}
    net = network(Critic, shape=(8,), hidden=hidden, pieces=2, **options)
    params = large(jax.eval_shape(net.init, jax.random.key(0))[0])
    h = np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32)
    x = jnp.broadcast_to(h, (20_000, 8))
    if hidden:
        maps = params["layers"]["0"]["maps"]
        h = np.asarray(h @ maps["kernel"] + maps["bias"]).reshape(1, 6, 2).max(-1)
    drawn = np.asarray(net.apply(params, {}, x, train=True, key=jax.random.key(1))[0])
    share = max(shares)
    variance = np.sum((h[0] * np.asarray(params["head"]["kernel"])[:, 0]) ** 2) * share / (1 - share)
    np.testing.assert_allclose(drawn.var(), variance, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(), net.apply(params, {}, x[:1])[0][0], atol=5 * np.sqrt(variance / 20_000))
    np.testing.assert_array_equal(net.apply(params, {}, x[:4])[0], net.apply(params, {}, x[:4], train=True)[0])


def test_a_generator_ends_in_sigmoids_within_its_limit():
    shape = {"shape": (3,), "latent": 4, "hidden": (5,)}
    bounded, free = network(Generator, limit=1.0, **shape), network(Generator, **shape)
    params, _ = jax.jit(bounded.init)(jax.random.key(0))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(params)) <= 0.05
    z = 100 * normals(6, 4)
    h = np.asarray(free.apply(params, {}, z)[0], np.float64)
    np.testing.assert_allclose(bounded.apply(params, {}, z)[0], 2 / (1 + np.exp(-h)) - 1, atol=1e-6)


def test_latents_of_a_labelled_generator_are_uniform():
    """With weights that copy them, the generator shows the latents that it works with: U(0, 1)."""
    options = {"latent": 1, "latent_width": 1, "label_width": 1, "width": 1}
    net = network(labelled.Generator, shape=(1,), classes=2, **options)
    params = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), jax.eval_shape(net.init, jax.random.key(0))[0])
    for layer in ("of_latent", "head"):
        params[layer]["kernel"] = jnp.ones((1, 1))
    params["of_both"]["kernel"] = jnp.array([[1.0], [0.0]])
    z = normals(20_000, 1)
    u = np.sort(np.asarray(net.apply(params, {}, z, jnp.zeros(20_000, int))[0])[:, 0])
    assert np.abs(u - (np.arange(20_000) + 0.5) / 20_000).max() < 1.63 / np.sqrt(20_000)  # Kolmogorov, 1 %


def test_labels_matter_to_both_players():
    model = CGANConfig(4, 8, 8, 16, units=(8, 4, 8)).build(POINTS)
    params, buffers = jax.eval_shape(model.init, jax.random.key(0), {})
    params, z, x = large(params), normals(6, 4), normals(6, 2)
    made = [jax.jit(model.decode)(params, buffers, z, label=jnp.full(6, c)) for c in range(3)]
    logits = [model.critics[0].network.apply(params["critic"], {}, x, jnp.full(6, c))[0] for c in range(3)]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert jnp.all(jnp.abs(made[a] - made[b]).max(axis=1) > 1e-4)
        assert jnp.any(jnp.abs(logits[a] - logits[b]) > 1e-4)


@pytest.mark.parametrize("config", [MaxoutGANConfig, CGANConfig])
@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_the_loss_is_the_one_asked_for(config, loss):
    assert config(loss=loss).build(POINTS).critics[0].loss is getattr(adversarial, loss)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="expected labelled data"):
        CGANConfig().build(images((8, 8, 1)))
    with pytest.raises(ValueError, match="units: expected 3 values, got 2"):
        CGANConfig(units=(1, 2))
