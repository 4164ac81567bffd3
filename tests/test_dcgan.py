"""DCGAN: published sizes, whose statistics move when, and what its latents can do."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from gen_jax.evaluate import probe
from gen_jax.fields import images
from gen_jax.interpolate import arithmetic, lerp, slerp
from gen_jax.models.dcgan import REFERENCE, SMALL, DCGANConfig
from gen_jax.networks import dcgan as nets
from gen_jax.networks.adversaries import Adversaries
from gen_jax.nn.functional import parameter_count
from gen_jax.protocol import Model

TINY = DCGANConfig(Adversaries("dcgan", latent=16, channels=8))


@functools.cache
def game(side=8, channels=1, classes=0):
    config = dataclasses.replace(TINY, conditional=classes > 0)
    model = config.build(images((side, side, channels), classes))
    draw = np.random.default_rng(side + channels).normal
    batch = {
        "image": np.tanh(2 * draw(size=(6, side, side, channels))).astype(np.float32),
        "label": np.arange(6, dtype=np.int32) % 3,
    }
    # Weights large enough to matter, and statistics off their start: train=True and train=False must differ.
    params, buffers = jax.tree.map(
        lambda a: jnp.asarray((0.2 if a.ndim > 1 else 0.02) * draw(size=a.shape) + (a.ndim == 1), a.dtype),
        jax.eval_shape(model.init, jax.random.key(0), batch),
    )
    return model, params, buffers, batch


@functools.cache
def compiled(turn, *arguments):
    """The jitted loss of a turn of ``game(*arguments)``: (params, buffers, batch, key) -> (scalar, aux)."""
    loss = game(*arguments)[0].turns[turn].loss
    return jax.jit(lambda params, buffers, batch, key: loss(params, buffers, batch, key, step=0, ema=None))


@functools.cache
def sampler(n, *arguments):
    label = jnp.arange(n) % arguments[2] if arguments and arguments[2] else None
    return jax.jit(lambda params, buffers, key: game(*arguments)[0].sample(params, buffers, key, n, label=label))


def test_published_parameter_counts():
    model = REFERENCE.build(images((64, 64, 3)))
    assert parameter_count(model.generator.init) == 3_576_704
    assert parameter_count(model.critics[0].network.init) == 2_765_568
    wide = DCGANConfig(dataclasses.replace(REFERENCE.net, channels=128)).build(images((64, 64, 3)))
    assert parameter_count(wide.generator.init) == 12_658_432
    assert parameter_count(wide.critics[0].network.init) == 11_036_160


@pytest.mark.parametrize(
    "side, expected",
    [(64, (4, 4)), (32, (4, 3)), (28, (7, 2)), (16, (4, 2)), (12, (3, 2)), (8, (2, 2)), (128, (4, 5))],
)
def test_plan(side, expected):
    start, halvings = expected
    assert nets.plan((side, side)) == ((start, start), halvings)
    assert start * 2**halvings == side


def test_initial_weights():
    params, buffers = jax.jit(lambda key: TINY.build(images((8, 8, 1))).init(key, {}))(jax.random.key(0))
    kernels = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = path[-1].key
        if name == "kernel":
            kernels.append(np.ravel(leaf))
        elif name == "scale":
            assert np.all(np.abs(leaf - 1) < 0.1) and np.std(leaf) > 0.005
        else:
            assert name == "bias" and path[-2].key == "norm" and not np.any(leaf)  # none but BatchNorm's
    every = np.concatenate(kernels)
    np.testing.assert_allclose([every.mean(), every.std()], [0, 0.02], atol=1e-3)
    for path, leaf in jax.tree_util.tree_flatten_with_path(buffers)[0]:
        np.testing.assert_array_equal(leaf, {"mean": 0, "var": 1}[path[-1].key])


@pytest.mark.parametrize("side, channels, classes", [(8, 1, 0), (12, 3, 3)])
def test_any_size(side, channels, classes):
    model, params, buffers, batch = game(side, channels, classes)
    assert isinstance(model, Model) and model.network_evaluations == 1 and model.classes == classes
    assert [turn.player for turn in model.turns] == ["critic", "generator"]
    x = sampler(4, side, channels, classes)(params, buffers, jax.random.key(3))
    chex.assert_shape(x, (4, side, side, channels))
    chex.assert_tree_all_finite(x)
    assert x.dtype == jnp.float32 and jnp.abs(x).max() <= 1
    for turn in range(2):
        loss, aux = compiled(turn, side, channels, classes)(params, buffers, batch, jax.random.key(4))
        assert loss.shape == () and loss.dtype == jnp.float32 and jnp.isfinite(loss)
        chex.assert_tree_all_finite(aux)


def test_undecided_at_the_start():
    # With small weights logits are near zero: the critic's loss is log 4, the generator's log 2.
    _, params, buffers, batch = game()
    small = jax.tree.map(lambda a: a / 100 if a.ndim > 1 else a, params)
    losses = [compiled(turn)(small, buffers, batch, jax.random.key(0))[0] for turn in range(2)]
    np.testing.assert_allclose(losses, [np.log(4), np.log(2)], atol=0.05)


def test_losses_by_hand():
    model, params, buffers, batch = game()
    key = jax.random.key(9)
    z = model.latents(key, 6)
    fake, _ = model.generator.apply(params["generator"], buffers["generator"], z, train=True)

    def logits(x):  # each as a batch of its own
        return np.asarray(
            model.critics[0].network.apply(params["critic"], buffers["critic"], x, train=True)[0], np.float64
        )

    critic = np.log1p(np.exp(-logits(batch["image"]))).mean() + np.log1p(np.exp(logits(fake))).mean()
    generator = np.log1p(np.exp(-logits(fake))).mean()
    got = [compiled(turn)(params, buffers, batch, key)[0] for turn in range(2)]
    np.testing.assert_allclose(got, [critic, generator], rtol=1e-5)


@pytest.mark.parametrize("turn", [0, 1])
def test_a_turn_updates_the_statistics_of_its_player_alone(turn):
    model, params, buffers, batch = game()
    _, aux = compiled(turn)(params, buffers, batch, jax.random.key(1))
    turn = model.turns[turn]
    assert set(aux.buffers) == {turn.player}
    chex.assert_trees_all_equal_shapes_and_dtypes(aux.buffers[turn.player], buffers[turn.player])
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), aux.buffers[turn.player], buffers[turn.player])
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("turn, other", [(0, "generator"), (1, "critic")])
def test_losses_ignore_the_other_player_s_running_statistics(turn, other):
    _, params, buffers, batch = game()
    changed = buffers | {other: jax.tree.map(lambda a: a + 1.0, buffers[other])}
    results = [compiled(turn)(params, b, batch, jax.random.key(1)) for b in (buffers, changed)]
    chex.assert_trees_all_equal(*results)


def test_running_statistics_keep_nine_tenths():
    # The critic's first BatchNorm sees real, then fake: two updates, each with weight 0.1.
    model, params, buffers, batch = game()
    key = jax.random.key(2)
    z = model.latents(key, 6)
    fake, _ = model.generator.apply(params["generator"], buffers["generator"], z, train=True)
    kernels = params["critic"]["convolutions"]

    def features(x):  # what the first BatchNorm is fed, by the definition of its convolutions
        h = x
        for i, kernel in enumerate((kernels["0"]["kernel"], kernels["1"]["kernel"])):
            h = jnp.where(h > 0, h, 0.2 * h) if i else h
            layout = ("NHWC", "HWIO", "NHWC")
            h = jax.lax.conv_general_dilated(h, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=layout)
        return np.asarray(h, np.float64).reshape(-1, h.shape[-1])

    expected = {name: np.asarray(a) for name, a in buffers["critic"]["norms"]["0"]["norm"].items()}
    for x in (batch["image"], fake):
        expected["mean"] = 0.9 * expected["mean"] + 0.1 * features(x).mean(axis=0)
        expected["var"] = 0.9 * expected["var"] + 0.1 * features(x).var(axis=0)
    _, aux = compiled(0)(params, buffers, batch, key)
    chex.assert_trees_all_close(aux.buffers["critic"]["norms"]["0"]["norm"], expected, rtol=1e-4)


def test_a_turn_has_a_gradient_in_every_weight_of_its_player():
    model, params, buffers, batch = game(12, 3, 3)
    for turn in model.turns:

        def loss(p, turn=turn):
            return turn.loss(params | {turn.player: p}, buffers, batch, jax.random.key(0), step=0, ema=None)[0]

        gradient = jax.jit(jax.grad(loss))(params[turn.player])
        chex.assert_tree_all_finite(gradient)
        assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("classes", [0, 3])
def test_samples_are_independent_of_their_batch_mates(classes):
    model, params, buffers, _ = game(12, 3, classes) if classes else game()
    arguments = (12, 3, classes) if classes else ()
    many, few = (sampler(n, *arguments)(params, buffers, jax.random.key(7)) for n in (8, 4))
    np.testing.assert_allclose(many[:4], few, atol=1e-5)
    assert jnp.abs(many[0] - many[1]).max() > 1e-3
    # and by decoding: replacing batch-mates leaves the first untouched
    z, label = model.latents(jax.random.key(0), 6), jnp.zeros(6, int) if classes else None
    alone = model.decode(params, buffers, z[:1], label=None if label is None else label[:1])
    np.testing.assert_allclose(model.decode(params, buffers, z, label=label)[:1], alone, atol=1e-5)


def test_labels_matter():
    model, params, buffers, batch = game(12, 3, 3)
    key = jax.random.key(0)
    z, label = model.latents(key, 30), jnp.arange(30) % 3
    each = jnp.stack([model.decode(params, buffers, z, label=jnp.full(30, c)) for c in range(3)])
    drawn = jax.jit(model.sample, static_argnums=3)(params, buffers, key, 30, label=label)
    np.testing.assert_allclose(drawn, each[label, jnp.arange(30)], atol=1e-5)
    assert jnp.abs(each[0] - each[1]).max() > 1e-3
    logits = [
        model.critics[0].network.apply(params["critic"], buffers["critic"], batch["image"], jnp.full(6, c))[0]
        for c in range(2)
    ]
    assert jnp.any(jnp.abs(logits[0] - logits[1]) > 1e-6)


def test_labels_are_ignored_where_the_model_is_unconditional():
    model = TINY.build(images((8, 8, 1), 10))
    assert model.classes == 0
    _, params, buffers, batch = game()
    without = {"image": batch["image"]}
    for turn in range(2):
        losses = [compiled(turn)(params, buffers, b, jax.random.key(0))[0] for b in (batch, without)]
        assert losses[0] == losses[1]


def test_interpolation_on_the_line_and_on_the_arc():
    start, end = jax.random.normal(jax.random.key(0), (2, 3, 50))
    weights = np.linspace(0, 1, 5)
    for path in (lerp, slerp):
        np.testing.assert_allclose(path(start, end, 0.0), start, atol=1e-5)
        np.testing.assert_allclose(path(start, end, 1.0), end, atol=1e-5)
    np.testing.assert_allclose(lerp(start, end, 0.25), 0.75 * start + 0.25 * end, rtol=1e-6)
    # between unit vectors the arc is a rotation at constant speed
    unit = np.eye(4, dtype=np.float32)
    arc = np.stack([slerp(unit[0], unit[1], w) for w in weights])
    np.testing.assert_allclose(arc[:, 0], np.cos(weights * np.pi / 2), atol=1e-6)
    np.testing.assert_allclose(arc[:, 1], np.sin(weights * np.pi / 2), atol=1e-6)
    np.testing.assert_allclose(slerp(unit[0], unit[0], 0.3), unit[0], atol=1e-6)
    # Gaussian latents: the line loses length, the arc does not
    a, b = jax.random.normal(jax.random.key(1), (2, 500, 100))
    length = lambda z: float(jnp.linalg.norm(z, axis=-1).mean())  # noqa: E731
    np.testing.assert_allclose(length(slerp(a, b, 0.5)), 10, rtol=0.02)
    np.testing.assert_allclose(length(lerp(a, b, 0.5)), 10 / np.sqrt(2), rtol=0.02)


def test_arithmetic_is_a_sum_of_means():
    draw = np.random.default_rng(0).normal
    groups = [draw(size=(k, 4)).astype(np.float32) for k in (3, 2, 5)]
    expected = groups[0].mean(0) + groups[1].mean(0) - groups[2].mean(0)
    np.testing.assert_allclose(arithmetic(groups[:2], groups[2:]), expected, rtol=1e-5)
    np.testing.assert_allclose(arithmetic(groups[:1]), groups[0].mean(0), rtol=1e-5)


@pytest.mark.parametrize("classes", [0, 3])
def test_interpolated_images_are_decoded_latents(classes):
    model, params, buffers, _ = game(12, 3, classes) if classes else game()
    start, end = jax.random.normal(jax.random.key(0), (2, 2, 16))
    label = jnp.array([2, 0]) if classes else None
    weights = jnp.array([0.0, 0.5, 1.0])
    images = model.interpolate(params, buffers, start, end, weights, label=label, path=lerp)
    chex.assert_shape(images, (2, 3, *model.shape))
    for i, z in enumerate((start, (start + end) / 2, end)):
        np.testing.assert_allclose(images[:, i], model.decode(params, buffers, z, label=label), atol=1e-5)


def test_features_are_the_largest_of_every_layer():
    """Of the last layer all numbers, of those before it the largest of blocks; the head is a map of the last."""
    model, params, buffers, batch = game()
    critic, own = model.critics[0].network, (params["critic"], buffers["critic"])
    features = np.asarray(critic.apply(*own, batch["image"], method=nets.Critic.features)[0])
    logits = critic.apply(*own, batch["image"])[0]
    assert features.shape == (6, 2 * 2 * (8 + 16))
    kernel = np.asarray(params["critic"]["head"]["kernel"])
    np.testing.assert_allclose(features[:, 32:] @ kernel[:, 0], logits, rtol=1e-4)
    first = nets.Conv(1, 8, 4, stride=2, padding=1, use_bias=False, rngs=nnx.Rngs(0))
    first.kernel[...] = params["critic"]["convolutions"]["0"]["kernel"]
    expected = jax.nn.leaky_relu(first(batch["image"]), 0.2).reshape(6, 2, 2, 2, 2, 8).max((2, 4))
    np.testing.assert_allclose(features[:, :32], expected.reshape(6, -1), rtol=1e-4, atol=1e-5)


def test_the_linear_classifier_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 6)) * [1, 10, 0.1, 3, 1, 1] + 7
    labels = (((features - 7) / [1, 10, 0.1, 3, 1, 1]) @ rng.normal(size=(6, 3)) + rng.normal(size=(600, 3))).argmax(1)
    known, new = (features[:400], labels[:400]), (features[400:], labels[400:])
    scaler = StandardScaler().fit(known[0])
    expected = [
        RidgeClassifier(alpha=400 * strength).fit(scaler.transform(known[0]), known[1])
        for strength in (1e-3, 1e-2, 1e-1, 1.0)
    ]
    found = probe.accuracy(known, new)
    assert 0.6 < found < 0.95
    assert min(abs(found - each.score(scaler.transform(new[0]), new[1])) for each in expected) < 1e-9


def test_bfloat16_weights():
    model, params, buffers, batch = game()
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    for index, turn in enumerate(model.turns):
        loss, aux = jax.jit(turn.loss)(half, buffers, batch, jax.random.key(4), step=0, ema=None)
        full, _ = compiled(index)(params, buffers, batch, jax.random.key(4))
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, full, rtol=0.02)
        chex.assert_trees_all_equal_dtypes(aux.buffers[turn.player], buffers[turn.player])


@pytest.mark.parametrize("config", [REFERENCE, SMALL, TINY])
def test_configuration_is_plain_data(config):
    assert DCGANConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DCGANConfig(conditional=True).build(images((8, 8, 1))), "labelled"),
        (lambda: Adversaries(channels=0), "channels: expected 1 or more"),
        (lambda: game()[0].sample(*game()[1:3], jax.random.key(0), 2, label=jnp.zeros(2, int)), "no labels"),
        (lambda: game(12, 3, 3)[0].sample(*game(12, 3, 3)[1:3], jax.random.key(0), 2), "a label per latent"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
