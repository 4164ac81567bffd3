"""The techniques of improved GANs, each against what it is by definition, and the semi-supervised classifier."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from gen_jax.fields import REAL, SYMBOL, Field, images
from gen_jax.losses import improved
from gen_jax.losses.adversarial import non_saturating
from gen_jax.models import semi_supervised_gan
from gen_jax.models.gan import GANConfig
from gen_jax.models.improved_gan import Historical, ImprovedGANConfig
from gen_jax.models.semi_supervised_gan import SemiSupervisedGANConfig
from gen_jax.networks.improved_gan import Classifier, Critic, WeightNormalised
from gen_jax.nn.functional import network
from gen_jax.nn.minibatch import MinibatchDiscrimination, VirtualBatchNorm

POINTS = {"point": Field((2,), REAL)}
NOW = {"step": 0, "ema": None}


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def large(params):
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda a: draw(size=a.shape).astype(np.float32), params)


# ---- layers


def test_minibatch_discrimination_by_its_definition():
    layer = MinibatchDiscrimination(3, 4, 2, rngs=nnx.Rngs(0))
    f, tensor = normals(5, 3), np.asarray(layer.tensor.kernel[...], np.float64).reshape(3, 4, 2)
    rows = np.einsum("na,abc->nbc", f, tensor)
    near = np.exp(-np.abs(rows[:, None] - rows).sum(-1))
    expected = [[sum(near[i, j, b] for j in range(5) if j != i) for b in range(4)] for i in range(5)]
    out = layer(f)
    np.testing.assert_array_equal(out[:, :3], f)
    np.testing.assert_allclose(out[:, 3:], expected, rtol=1e-5)
    np.testing.assert_array_equal(layer(np.ones((6, 3), np.float32))[:, 3:], 5)  # all the same
    np.testing.assert_array_equal(layer(1e4 * f)[:, 3:], 0)  # far apart


@pytest.mark.parametrize("positions", [(), (3, 2)])
def test_virtual_batch_norm_by_its_definition(positions):
    layer = VirtualBatchNorm(4, rngs=nnx.Rngs(0))
    layer.bias[...] = normals(4)
    scale, bias = np.asarray(layer.scale[...]), np.asarray(layer.bias[...])
    x, reference = normals(5, *positions, 4, seed=1), 2 + 3 * normals(7, *positions, 4, seed=2)
    axes = tuple(range(1, x.ndim - 1))
    for i, y in enumerate(layer(x, reference)[0]):
        mean = (7 * reference.mean((0, *axes)) + x[i : i + 1].mean(axes)[0]) / 8
        square = (7 * (reference**2).mean((0, *axes)) + (x[i : i + 1] ** 2).mean(axes)[0]) / 8
        np.testing.assert_allclose(y, (x[i] - mean) / np.sqrt(square - mean**2 + 1e-5) * scale + bias, atol=1e-4)
    normal = (layer(x, reference)[1] - bias) / scale
    np.testing.assert_allclose(normal.mean((0, *axes)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, *axes)), 1, atol=1e-4)


def test_virtual_batch_norm_of_many_references_is_that_of_the_references():
    layer = VirtualBatchNorm(2, rngs=nnx.Rngs(0))
    x, reference = normals(4, 2), 1 + 2 * normals(50_000, 2, seed=1)
    plain = (x - reference.mean(0)) / reference.std(0) * layer.scale[...]
    np.testing.assert_allclose(layer(x, reference)[0], plain, atol=1e-3)


def test_weights_are_normalised_for_each_output():
    layer, x = WeightNormalised(3, 4, rngs=nnx.Rngs(0)), normals(5, 3)
    kernel = np.asarray(layer.kernel[...], np.float64)
    np.testing.assert_allclose(layer(x), x @ (kernel / np.sqrt((kernel**2).sum(0))), rtol=1e-4, atol=1e-6)


def test_features_are_of_an_example_alone_and_logits_of_its_batch():
    net = network(Critic, shape=(2,), hidden=(6, 5), kernels=3, kernel_width=2)
    params = large(jax.eval_shape(net.init, jax.random.key(0))[0])
    x = normals(4, 2)
    other = np.concatenate([x[:1], 3 * x[1:]])
    features, logits = (
        [jax.jit(functools.partial(net.apply, method=method))(params, {}, each)[0] for each in (x, other)]
        for method in (Critic.features, None)
    )
    np.testing.assert_allclose(features[0][0], features[1][0], rtol=1e-6)
    assert abs(logits[0][0] - logits[1][0]) > 1e-4


# ---- losses


@pytest.mark.parametrize("goal", [0.9, 0.6])
def test_a_smoothed_critic_ends_at_its_closed_form(goal):
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])

    def value(d):
        return improved.smoothed(goal).critic(d[np.repeat(np.arange(3), [5, 3, 2])], d[np.repeat(range(3), [2, 3, 5])])

    best = jnp.asarray(np.log(goal * p / ((1 - goal) * p + q)), jnp.float32)
    np.testing.assert_allclose(jax.grad(value)(best), 0, atol=1e-6)
    share = special.expit(np.asarray(best, np.float64))
    cross_entropy = -(p * (goal * np.log(share) + (1 - goal) * np.log1p(-share)) + q * np.log1p(-share)).sum()
    np.testing.assert_allclose(value(best), cross_entropy, rtol=1e-5)


def test_a_goal_of_one_is_no_smoothing():
    real, fake = normals(6), normals(6, seed=1)
    smooth = improved.smoothed(1.0)
    np.testing.assert_allclose(smooth.critic(real, fake), non_saturating.critic(real, fake), rtol=1e-6)
    np.testing.assert_allclose(smooth.generator(fake), non_saturating.generator(fake), rtol=1e-6)


def test_feature_matching_is_of_means():
    real, fake = normals(8, 3), normals(8, 3, seed=1)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).mean()
    np.testing.assert_allclose(improved.feature_matching(real, fake), expected, rtol=1e-5)
    np.testing.assert_allclose(improved.feature_matching(real, real[::-1]), 0, atol=1e-12)


def test_the_classifier_s_losses_are_those_of_one_more_class():
    """Cross entropies of K + 1 classes, the last with a logit of 0; labels that are not known do not count."""
    real, fake, label = 3 * normals(8, 4), 3 * normals(8, 4, seed=1), np.arange(8) % 4
    known = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)

    def shares(logits):
        return special.log_softmax(np.hstack([logits, np.zeros((8, 1))]), axis=1)

    expected = -special.log_softmax(real.astype(np.float64), axis=1)[np.arange(8), label][known].mean()
    np.testing.assert_allclose(improved.labelled(real, label, known), expected, rtol=1e-5)
    apart = -0.5 * np.log1p(-np.exp(shares(real)[:, 4])).mean() - 0.5 * shares(fake)[:, 4].mean()
    np.testing.assert_allclose(improved.told_apart(real, fake), apart, rtol=1e-5)
    assert improved.labelled(real, label, np.zeros(8, bool)) == 0


def test_the_best_classifier_knows_labels_and_density_ratios():
    """Three points, two classes: l_k = log p(k | x) + log p(x) / q(x), and (4) there is log 2 - JSD."""
    joint, q = np.array([[4, 1], [1, 2], [1, 1]]) / 10, np.array([0.2, 0.3, 0.5])
    p = joint.sum(1)
    points, labels = (
        np.repeat([0, 0, 1, 1, 2, 2], (10 * joint).round().astype(int).ravel()),
        np.array([0] * 4 + [1, 0, 1, 1, 0, 1]),
    )

    def value(logits):
        of_label = improved.labelled(logits[points], labels, np.ones(10, bool))
        return of_label + improved.told_apart(logits[points], logits[np.repeat(np.arange(3), [2, 3, 5])])

    best = jnp.asarray(np.log(joint / q[:, None]), jnp.float32)
    np.testing.assert_allclose(jax.grad(value)(best), 0, atol=1e-6)
    entropy = -(joint * np.log(joint / p[:, None])).sum()
    middle = (p + q) / 2
    divergence = 0.5 * (p * np.log(p / middle)).sum() + 0.5 * (q * np.log(q / middle)).sum()
    np.testing.assert_allclose(value(best), entropy + np.log(2) - divergence, rtol=1e-5)


# ---- games


def test_feature_matching_replaces_the_generator_s_loss():
    model = ImprovedGANConfig(3, (6,), 5, (7, 4), 3, 2, matching="features").build(POINTS).game
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    batch, key = {"point": normals(8, 2)}, jax.random.key(1)
    fake = model.decode(params, buffers, model.latents(key, 8))
    net, own = model.critics[0].network, params["critic"]
    real_features, fake_features = (
        np.asarray(net.apply(own, {}, x, method=Critic.features)[0]) for x in (batch["point"], fake)
    )
    loss, _ = jax.jit(model.turns[1].loss)(params, buffers, batch, key, **NOW)
    np.testing.assert_allclose(loss, ((real_features.mean(0) - fake_features.mean(0)) ** 2).mean(), rtol=1e-4)
    assert model.turns[0].loss.__name__ == "critic_loss" and model.turns[1].player == "generator"


def test_historical_averaging_is_the_distance_to_the_mean_of_earlier_turns():
    plain = GANConfig(latent=3, hidden=(4,)).build(POINTS)
    model = Historical(plain, weight=0.5)
    _, buffers = jax.jit(model.init)(jax.random.key(0), {})
    batch, key = {"point": normals(8, 2)}, jax.random.key(1)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), {})[0]
    moves = [jax.tree.map(lambda a, s=s: normals(*a.shape, seed=s), shapes) for s in range(4)]
    loss, plain_loss = jax.jit(functools.partial(model.turns[0].loss, **NOW)), plain.turns[0].loss
    past = []
    for params in moves:
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params["critic"])])
        penalty = 0.5 * np.sum((flat - np.mean(past, axis=0)) ** 2) if past else 0.0
        found, aux = loss(params, buffers, batch, key)
        expected = plain_loss(params, {"critic": {}, "generator": {}}, batch, key, **NOW)[0] + penalty
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert set(aux.buffers) == {"critic"}
        buffers, past = {**buffers, **aux.buffers}, [*past, flat]
    still = {**buffers, "critic": {**buffers["critic"], "mean": params["critic"]}}
    np.testing.assert_allclose(loss(params, still, batch, key)[1].metrics["history"], 0)


LABELLED = {**POINTS, "label": Field((), SYMBOL, 3), "labelled": Field((), SYMBOL, 2)}


def test_only_known_labels_move_the_classifier():
    model = SemiSupervisedGANConfig(3, (4,), 5, (6,), unlabelled_weight=0.7).build(LABELLED)
    params, buffers = jax.jit(model.init)(jax.random.key(0), {})
    batch = {"point": normals(8, 2), "label": np.arange(8) % 3, "labelled": np.array([1, 1, 0, 0, 1, 0, 0, 0])}
    loss = jax.jit(functools.partial(model.turns[0].loss, **NOW))
    value, aux = loss(params, buffers, batch, jax.random.key(1))
    np.testing.assert_allclose(value, aux.metrics["labelled"] + 0.7 * aux.metrics["told_apart"], rtol=1e-6)
    for changed, matters in ((2, False), (0, True)):
        other = {**batch, "label": np.where(np.arange(8) == changed, (batch["label"] + 1) % 3, batch["label"])}
        assert (loss(params, buffers, other, jax.random.key(1))[0] != value) == matters
    everything = {name: batch[name] for name in ("point", "label")}
    all_known = loss(params, buffers, {**batch, "labelled": np.ones(8, int)}, jax.random.key(1))[0]
    np.testing.assert_allclose(loss(params, buffers, everything, jax.random.key(1))[0], all_known, rtol=1e-6)
    assert model.classify(params, buffers, batch["point"]).shape == (8, 3)


def test_noise_is_of_training_alone_and_pixels_are_shares():
    net = network(Classifier, shape=(4,), classes=2, hidden=(), limit=1.0, input_noise=0.3)
    params, _ = jax.jit(net.init)(jax.random.key(0))
    x = np.broadcast_to(normals(1, 4).clip(-1, 1), (20_000, 4))
    seen, logits = net.apply(params, {}, x, key=jax.random.key(1), train=True)[0]
    np.testing.assert_allclose(seen, (x + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(logits.std(axis=0), 0.3, rtol=0.03)  # columns of norm 1
    np.testing.assert_array_equal(net.apply(params, {}, x[:3])[0][1], net.apply(params, {}, x[:3], train=True)[0][1])


def test_the_widths_of_the_reference_classifier():
    model = semi_supervised_gan.REFERENCE.build(images((28, 28, 1), 10))
    params, _ = jax.eval_shape(model.init, jax.random.key(0), {})
    widths = [784, 1000, 500, 250, 250, 250, 10]
    expected = sum(a * b + 2 * b for a, b in itertools.pairwise(widths))
    assert sum(leaf.size for leaf in jax.tree.leaves(params["classifier"])) == expected


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="labelled data"):
        SemiSupervisedGANConfig().build(POINTS)
    with pytest.raises(ValueError, match="critic_hidden: expected one width or more"):
        ImprovedGANConfig(critic_hidden=())
