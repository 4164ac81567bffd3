"""Feature networks, whole measurements, and cards."""

import dataclasses

import jax
import numpy as np
import pytest

from gen_jax import evaluate
from gen_jax.networks.classifier import Classifier
from gen_jax.nn.functional import network, parameter_count

SHAPES = [(8, 8, 1), (12, 12, 3)]


def pictures(n, shape=(8, 8, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier with weights that no seed gives, in a file."""
    hyperparameters = {"inputs": 1, "widths": [4, 6], "features": 5, "classes": 3}
    classifier = network(Classifier, **hyperparameters)
    params, buffers = jax.jit(classifier.init)(jax.random.key(7))
    buffers = jax.tree.map(lambda a: a + np.linspace(0.1, 0.5, a.size, dtype=np.float32), buffers)
    path = tmp_path_factory.mktemp("weights") / "x.safetensors"
    evaluate.save_feature_network(path, params, buffers, hyperparameters, facts={"accuracy": 0.5})
    return path, classifier, params, buffers


def test_shipped_size():
    for channels in (1, 3):
        assert parameter_count(network(Classifier, inputs=channels).init) * 4 < 1_000_000


def test_file_gives_the_same_network(trained):
    path, classifier, params, buffers = trained
    net = evaluate.read_feature_network(path, "own")
    images = pictures(9)
    features, probabilities = net.extract(images, 4)
    x = (images.astype(np.float32) - 127.5) / 127.5
    (expected, logits), _ = classifier.apply(params, buffers, x, method=Classifier.features)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), atol=1e-5)
    np.testing.assert_allclose(classifier.apply(params, buffers, x)[0], logits, atol=1e-6)
    assert net.name == "own" and features.shape == (9, 5) and probabilities.shape == (9, 3)


def test_hash_sees_every_weight(trained):
    path, _, params, buffers = trained
    before = evaluate.read_feature_network(path, "own").hash
    assert before == evaluate.read_feature_network(path, "other").hash and len(before) == 16
    for tree in (params, buffers):
        leaves, structure = jax.tree.flatten(tree)
        for i in range(len(leaves)):
            changed = list(leaves)
            changed[i] = changed[i].at[(0,) * changed[i].ndim].add(1e-3)
            new = jax.tree.unflatten(structure, changed)
            pair = (new, buffers) if tree is params else (params, new)
            assert evaluate.features.weights_hash(*pair) != before
    assert evaluate.features.weights_hash(params, buffers) == before


@pytest.mark.parametrize("kind", ["missing", "text", "no metadata"])
def test_files_that_are_no_weights(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    if kind == "text":
        path.write_text("hello")
    elif kind == "no metadata":
        import safetensors.numpy

        safetensors.numpy.save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"x\.safetensors: expected weights"):
        evaluate.read_feature_network(path, "x")


@pytest.mark.parametrize("shape", SHAPES)
def test_features_do_not_depend_on_batch_order_or_padding(shape):
    net = evaluate.load_feature_network("unheard-of", shape)
    assert net.name == "random"
    assert net == evaluate.load_feature_network("something else", shape)
    images = pictures(11, shape)
    features, probabilities = net.extract(images, 11)
    assert features.dtype == np.float32 and len(features) == 11 and probabilities is None
    assert np.isfinite(features).all() and features.std(0).max() > 0
    for batch_size in (4, 64):
        np.testing.assert_allclose(net.extract(images, batch_size)[0], features, rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(1).permutation(11)
    np.testing.assert_allclose(net.extract(images[order], 11)[0], features[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.extract(images, 4)[0], net.extract(images, 4)[0])


def test_features_see_range_and_order_of_channels():
    net = evaluate.load_feature_network("unheard-of", (12, 12, 3))
    images = pictures(4, (12, 12, 3))
    features = net.extract(images)[0]
    for other in (images[..., ::-1], images // 2, 255 - images, images[:, ::-1]):
        assert np.abs(net.extract(other)[0] - features).max() > 1e-3 * np.abs(features).max()


def test_shipped_networks_are_only_for_their_own_data():
    for name, shape, classes in (("digits", (28, 28, 1), 10), ("digits", (8, 8, 3), 10), ("mnist", (28, 28, 1), 10)):
        assert evaluate.load_feature_network(name, shape, classes).name == "random"


def test_images_that_are_refused():
    net = evaluate.load_feature_network("unheard-of", (8, 8, 1))
    with pytest.raises(ValueError, match="uint8"):
        net.extract(pictures(3).astype(np.float32))
    for wrong in (pictures(3, (8, 8, 3)), pictures(3)[0], pictures(3)[:0]):
        with pytest.raises(ValueError, match=r"\[N, H, W, 1\]"):
            net.extract(wrong)


def test_measure_agrees_with_its_parts(trained):
    net = evaluate.read_feature_network(trained[0], "own")
    generated, reference = pictures(60), pictures(50, seed=1) // 2 + 64
    a, b = (evaluate.summarise(images, net, batch_size=32) for images in (generated, reference))
    settings = evaluate.Choices(splits=4, subsets=3, subset_size=20)
    figures = evaluate.measure(a, b, ("fid", "prdc", "is", "kid", "memorisation"), settings=settings)
    (x, p), (y, _) = net.extract(generated, 32), net.extract(reference, 32)
    kid, kid_spread = evaluate.kernel_distance(x, y, subsets=3, subset_size=20)
    score, score_spread = evaluate.classifier_score(p, splits=4)
    assert {name: figure.value for name, figure in figures.items()} == {
        "frechet_distance": evaluate.frechet_distance(x, y),
        "precision": evaluate.overlap(x, y).precision,
        "recall": evaluate.overlap(x, y).recall,
        "density": evaluate.overlap(x, y).density,
        "coverage": evaluate.overlap(x, y).coverage,
        "score": score,
        "kid": kid,
        "authenticity": evaluate.memorisation(x, y).authenticity,
        "memorised": evaluate.memorisation(x, y).memorised,
    }
    assert (figures["kid"].spread, figures["score"].spread) == (kid_spread, score_spread)
    assert (figures["kid"].settings, figures["recall"].settings) == ("3 subsets of 20", "k=3")
    same = evaluate.measure(b, b)
    assert same["frechet_distance"].value < 1e-6 < figures["frechet_distance"].value
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]


def test_measure_refuses(trained):
    net = evaluate.read_feature_network(trained[0], "own")
    a = evaluate.summarise(pictures(60), net)
    with pytest.raises(ValueError, match="one shape"):
        evaluate.measure(evaluate.summarise(pictures(60, (12, 12, 1)), net), a)
    with pytest.raises(ValueError, match="unknown metric 'fdi'"):
        evaluate.measure(a, a, ["fdi"])
    random = evaluate.load_feature_network("unheard-of", (8, 8, 1))
    b = evaluate.summarise(pictures(60), random)
    with pytest.raises(ValueError, match="measure both with one"):
        evaluate.measure(a, b)
    with pytest.raises(ValueError, match="class probabilities"):
        evaluate.measure(b, b, ["is"])
    streamed = evaluate.summarise(pictures(60), net, keep=False)
    with pytest.raises(ValueError, match="only moments were kept"):
        evaluate.measure(streamed, a, ["kid"])
    with pytest.raises(ValueError, match="10 splits, not 3"):
        evaluate.measure(streamed, a, ["is"], settings=evaluate.Choices(splits=3))
    with pytest.raises(ValueError, match="subsets: expected 1 or more"):
        evaluate.Choices(subsets=0)


CARD = evaluate.Card(
    metric="FD-digits",
    generated_size=1000,
    reference="digits",
    reference_split="train",
    reference_size=1497,
    reference_fingerprint="ab" * 32,
    feature_network="digits",
    feature_hash="0123456789abcdef",
    value=3.25,
    spread=0.125,
    interval=(3.0, 3.5),
    generated="runs/x",
    generated_fingerprint="cd" * 32,
    weights="EMA",
    weights_digest="fedcba9876543210",
    sampler="ddim",
    sampling_steps=50,
    evaluations=100,
    guidance=1.5,
    seeds=(0, 1),
    devices="2 cpu",
    versions=evaluate.versions(),
)


def test_card_survives_json_and_prints_one_line():
    assert evaluate.Card.from_json(CARD.to_json()) == CARD
    line = str(CARD)
    assert "\n" not in line
    for part in (
        "FD-digits",
        "3.25",
        "0.12",
        "1,000",
        "1,497",
        "digits train",
        "0123456789abcdef",
        "EMA",
        "50 steps",
        "[3, 3.5]",
        "runs/x",
        "fedcba9876543210",
        "seed 0, 1",
        "guidance 1.5",
    ):
        assert part in line
    assert set(evaluate.versions()) >= {"python", "jax", "flax", "numpy", "gen_jax"}


RULER = [field.name for field in dataclasses.fields(evaluate.Card) if field.metadata.get("protocol")]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(evaluate.Card)])
def test_cards_with_different_rulers_are_not_compared(field):
    old = getattr(CARD, field)
    new = {int: 7, float: 7.0, str: "other", tuple: (5, 6), dict: {}}[type(old)]
    other = dataclasses.replace(CARD, **{field: new})
    if field in RULER:
        with pytest.raises(ValueError, match=f"{field} is .* for 'a' and .* for 'b'"):
            evaluate.compare({"a": CARD, "b": other})
    else:
        column = evaluate.compare({"a": CARD, "b": other})
        assert column["a"] == (3.25, 0.125) and column["b"] == (other.value, other.spread)


def test_the_ruler_is_the_data_the_network_and_the_numbers_of_images():
    assert set(RULER) >= {
        "metric",
        "settings",
        "generated_size",
        "reference",
        "reference_split",
        "reference_size",
        "reference_fingerprint",
        "feature_hash",
        "resize",
        "quantisation",
        "reference_quantisation",
    }
