"""What is no image is measured by the same laws: sets, features, statistics, cards and files of every kind of field."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import scipy.linalg

from gen_jax import cli, data, evaluate
from gen_jax.evaluate import __main__ as command
from gen_jax.evaluate.kinds import WIDTH
from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field

pytestmark = pytest.mark.filterwarnings("ignore:a Frechet distance from")


def generator(seed=0):
    return np.random.default_rng(seed)


def integers(shape, high, kind=SYMBOL):
    return lambda n, seed: generator(seed).integers(0, high, (n, *shape)).astype(kind.stored)


def reals(shape):
    return lambda n, seed: generator(seed).normal(size=(n, *shape)).astype(np.float32)


# Name, field, what draws n examples from a seed, name of the network.
KINDS = {
    "images": (Field((8, 8, 1), PIXELS), integers((8, 8, 1), 256, PIXELS), "random"),
    "videos": (Field((3, 8, 8, 3), PIXELS), integers((3, 8, 8, 3), 256, PIXELS), "random-frames"),
    "numbers": (Field((), REAL), reals(()), "identity"),
    "points": (Field((2,), REAL), reals((2,)), "identity"),
    "functions": (Field((6, 2), REAL), reals((6, 2)), "identity"),
    "symbols": (Field((7,), SYMBOL, 3), integers((7,), 3), "pairs"),
    "letters": (Field((7,), SYMBOL, 90), integers((7,), 90), "pairs-256"),
    "pairs of words": (Field((5, 2), COUNT, 9), integers((5, 2), 9, COUNT), "words"),
    "pairs of many words": (Field((5, 2), COUNT, 900), integers((5, 2), 900, COUNT), "words-256"),
    "counts of words": (Field((12,), COUNT), integers((12,), 4, COUNT), "words"),
}
PADDED = [name for name in KINDS if name not in ("images", "numbers", "counts of words")]
each_kind = pytest.mark.parametrize("kind", KINDS)


@functools.cache  # compiled once
def network(kind):
    return evaluate.features_of(KINDS[kind][0])


def statistics(kind, n=40, seed=0, order=slice(None), length=None, **options):
    field, draw, _ = KINDS[kind]
    examples = draw(n, seed)[order]
    found = evaluate.from_array(examples, field, length=length, name="set")
    return evaluate.summarise(found, network(kind), **{"batch_size": 40, **options})


def direct_pairs(sequences, size, lengths):
    """(2) of ``evaluate.kinds`` by loops."""
    rows = []
    for x, n in zip(sequences, lengths):
        symbols, pairs = np.zeros(size), np.zeros((size, size))
        for t in range(n):
            symbols[x[t]] += 1 / n
            if t + 1 < n:
                pairs[x[t], x[t + 1]] += 1 / (n - 1)
        rows.append(np.concatenate([symbols, pairs.ravel()]))
    return np.stack(rows)


# The laws of every kind


@each_kind
def test_a_set_equals_itself_and_differs_from_others(kind):
    a, b = statistics(kind), statistics(kind, seed=1)
    assert a.network == KINDS[kind][2] and len(a.network_hash) == 16
    same = evaluate.measure(a, a, ["fid", "prdc"])
    assert same["frechet_distance"].value < 1e-6
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert evaluate.measure(a, b, ["fid"])["frechet_distance"].value > 1e-4
    assert a.fingerprint != b.fingerprint


@each_kind
def test_statistics_do_not_depend_on_order_or_batches(kind):
    order = generator(5).permutation(40)
    a, b = statistics(kind, batch_size=7), statistics(kind, order=order, batch_size=64, keep=False)
    assert a.fingerprint == b.fingerprint and a.shape == b.shape == KINDS[kind][0].shape
    np.testing.assert_allclose(a.features[order], statistics(kind, order=order).features, atol=1e-4)
    np.testing.assert_allclose(a.moments.mean, b.moments.mean, atol=1e-5)
    np.testing.assert_allclose(a.moments.scatter, b.moments.scatter, rtol=1e-3, atol=1e-3)


@each_kind
@pytest.mark.parametrize("keep", [True, False])
def test_saved_statistics_measure_alike(kind, keep, tmp_path):
    before = statistics(kind, keep=keep)
    evaluate.save_statistics(tmp_path / "x.safetensors", before)
    after = evaluate.load_statistics(tmp_path / "x.safetensors")
    other = statistics(kind, seed=1)
    metrics = ["fid", "kid", "prdc"] if keep else ["fid"]
    settings = evaluate.Choices(subsets=2)
    assert evaluate.measure(after, other, metrics, settings=settings) == evaluate.measure(
        before, other, metrics, settings=settings
    )
    plain = ("name", "n", "fingerprint", "quantisation", "network", "network_hash", "resize", "shape")
    assert [getattr(after, name) for name in plain] == [getattr(before, name) for name in plain]


@each_kind
def test_every_card_prints_and_is_compared(kind):
    reference = statistics(kind, seed=1)
    found = [evaluate.measure(statistics(kind, seed=s), reference, ["fid"], replicates=4) for s in (2, 3)]
    cards = [evaluate.cards(figures, statistics(kind), reference)[0] for figures in found]
    line = str(cards[0])
    assert line.startswith(f"FD-{KINDS[kind][2]} ") and "\n" not in line
    assert "image" not in line
    bits = "8 bits" if KINDS[kind][0].kind is PIXELS else "none"
    assert cards[0].quantisation == cards[0].reference_quantisation == bits and "none" not in line
    assert evaluate.Card.from_json(cards[0].to_json()) == cards[0]
    assert evaluate.compare(dict(zip("ab", cards)))["b"][0] == cards[1].value
    low, high = cards[0].interval
    assert low < cards[0].value < high


@pytest.mark.parametrize("kind", PADDED)
def test_what_is_behind_the_length_is_not_seen(kind):
    field, draw, _ = KINDS[kind]
    examples, steps = draw(30, 0), field.shape[0]
    length = np.arange(30) % (steps + 1)
    behind = np.arange(steps) >= length[:, None]
    other = np.where(behind.reshape(behind.shape + (1,) * (examples.ndim - 2)), draw(30, 1), examples)
    assert (other != examples).any()
    net = network(kind)
    first, second, all_of_it = (
        net.extract(x, 40, length=n)[0]
        for x, n in ((examples, length), (other, length), (examples, np.full(30, steps)))
    )
    np.testing.assert_array_equal(first, second)
    plain = net.extract(examples, 40)[0]
    np.testing.assert_allclose(all_of_it, plain, atol=1e-6)
    assert np.abs(first - plain).max() > 0
    sets = [evaluate.from_array(x, field, length=length) for x in (examples, other)]
    assert len({evaluate.summarise(x, net, batch_size=40).fingerprint for x in sets}) == 1


@pytest.mark.parametrize("kind", ["videos", "symbols", "letters", "pairs of words", "pairs of many words"])
def test_padding_to_another_length_changes_nothing(kind):
    """Shorter examples and the same, padded: one law, one set of features."""
    field, draw, _ = KINDS[kind]
    short = draw(20, 0)
    long = np.pad(short, [(0, 0), (0, 4)] + [(0, 0)] * (short.ndim - 2))
    padded = network(kind).extract(long, 40, length=np.full(20, field.shape[0]))[0]
    np.testing.assert_allclose(padded, network(kind).extract(short, 40)[0], atol=1e-5)


@each_kind
def test_wrong_examples_give_one_line(kind):
    field, draw, name = KINDS[kind]
    net, examples = network(kind), draw(4, 0)
    wrong = {
        "features are of": examples.astype(np.float64),
        f"the feature network '{name}' takes": examples[..., None, None],
        "takes": examples[:0],
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message) as error:
            net.extract(given)
        assert "\n" not in str(error.value)
    with pytest.raises(data.DataError, match="expected") as error:
        evaluate.from_array(examples.astype(np.float64), field)
    assert "\n" not in str(error.value)
    for length in (np.zeros(3, int), np.full(4, 99), np.full(4, -1), np.zeros(4)):
        with pytest.raises(data.DataError, match="length") as error:
            evaluate.from_array(examples, field, length=length)
        assert "\n" not in str(error.value)


@each_kind
def test_sources_and_arrays_are_read_alike(kind):
    field, draw, _ = KINDS[kind]
    examples = draw(30, 0)
    length = np.arange(30, dtype=np.int32) % (field.shape[0] + 1) if kind in PADDED else None
    arrays = {"thing": examples} if length is None else {"thing": examples, "length": length}

    class Source:
        name, split, size = "made", "train", 30
        fields = {"thing": field, "length": Field((), SYMBOL)} if length is not None else {"thing": field}
        read = staticmethod(lambda indices: {name: values[indices] for name, values in arrays.items()})

    first, second = (
        evaluate.summarise(found, network(kind), batch_size=40)
        for found in (evaluate.from_source(Source, "thing"), evaluate.from_array(examples, field, length=length))
    )
    np.testing.assert_array_equal(first.features, second.features)
    assert (first.name, first.split, first.fingerprint) == ("made", "train", second.fingerprint)
    assert evaluate.from_source(Source, "thing", limit=10).size == 10
    with pytest.raises(data.DataError, match="no field 'image' to measure; it has thing"):
        evaluate.from_source(Source)


# Each kind against what it should be


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_of_points_is_that_of_gaussians(seed):
    g = generator(seed)
    x, y = (g.normal(size=(n, 2)) @ g.normal(size=(2, 2)) + g.normal(size=2) for n in (300, 400))
    x, y = x.astype(np.float32), y.astype(np.float32)
    net = evaluate.features_of(Field((2,), REAL))
    found = evaluate.measure(evaluate.summarise(x, net), evaluate.summarise(y, net), ["fid"])
    c1, c2 = np.cov(x.astype(np.float64), rowvar=False), np.cov(y.astype(np.float64), rowvar=False)
    gap = x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)
    expected = gap @ gap + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert found["frechet_distance"].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 4)])
def test_real_numbers_are_their_own_features(shape):
    x = reals(shape)(9, 0)
    np.testing.assert_array_equal(evaluate.identity(shape).extract(x, 4)[0], x.reshape(9, -1))
    assert evaluate.identity(shape).hash != evaluate.identity((7,)).hash


def test_a_clip_is_the_mean_and_deviation_of_its_frames():
    field, draw, _ = KINDS["videos"]
    clips = draw(6, 0)
    images = evaluate.load_feature_network("", field.shape[1:])
    net = network("videos")
    assert (net.name, net.hash) == ("random-frames", images.hash)
    frames = images.extract(clips.reshape(-1, *field.shape[1:]), 24)[0].reshape(6, 3, -1)
    expected = np.concatenate([frames.mean(1), frames.std(1)], -1)
    np.testing.assert_allclose(net.extract(clips, 8)[0], expected, rtol=1e-3, atol=1e-4)
    single = net.extract(clips[:, :1], 8)[0]
    width = single.shape[1] // 2
    np.testing.assert_allclose(single[:, :width], images.extract(clips[:, 0], 24)[0], rtol=1e-4, atol=1e-5)
    assert (single[:, width:] == 0).all()


def chain(transition, n, steps, seed):
    g = generator(seed)
    x = np.zeros((n, steps), np.int32)
    x[:, 0] = g.integers(0, len(transition), n)
    for t in range(1, steps):
        x[:, t] = (g.random(n)[:, None] > np.cumsum(transition, 1)[x[:, t - 1]]).sum(1)
    return x


def test_pairs_of_two_chains_equal_the_direct_computation():
    one, two = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.1, 0.9], [0.9, 0.1]])
    x, y = chain(one, 200, 20, 0), chain(two, 200, 20, 1)
    lengths = generator(2).integers(0, 21, 200)
    net = evaluate.pair_frequencies(2)
    features = [direct_pairs(x, 2, lengths), direct_pairs(y, 2, lengths)]
    for sequences, expected in zip((x, y), features):
        np.testing.assert_allclose(net.extract(sequences, 64, length=lengths)[0], expected, atol=1e-6)
    field = Field((20,), SYMBOL, 2)
    sides = [evaluate.summarise(evaluate.from_array(s, field, length=lengths), net) for s in (x, y)]
    found = evaluate.measure(*sides, ["fid"])["frechet_distance"].value
    assert found == pytest.approx(evaluate.frechet_distance(*features), rel=1e-4)
    # The symbols alone cannot tell these chains apart: both have each half of the time. Their pairs can.
    symbols = evaluate.frechet_distance(*(f[:, :2] for f in features))
    assert found > 0.5 and symbols < 0.2 * found
    assert evaluate.measure(sides[0], sides[0], ["fid"])["frechet_distance"].value < 1e-6


@pytest.mark.parametrize("name", ["symbols", "pairs"])
def test_projections_keep_inner_products_in_the_mean(name):
    """(4) against the frequencies themselves; the error of an inner product of shares falls as 1 / D^(1/2)."""
    size, x = 80, integers((50,), 80)(40, 0)
    x[:20] //= 20  # some documents are alike, others are not
    plain = direct_pairs(x, size, [50] * 40)
    projected = evaluate.pair_frequencies(size).extract(x)[0].astype(np.float64)
    a, b = (plain[:, :size], projected[:, :WIDTH]) if name == "symbols" else (plain[:, size:], projected[:, WIDTH:])
    norms = np.linalg.norm(a, axis=1)
    error = (b @ b.T - a @ a.T) / np.outer(norms, norms)
    assert b.shape == (40, WIDTH) and np.sqrt((error**2).mean()) < 2 / np.sqrt(WIDTH)
    assert np.abs(error).max() < 8 / np.sqrt(WIDTH)


@pytest.mark.parametrize("size", [30, 4000])
def test_a_document_has_the_same_features_in_every_form(size):
    g = generator(3)
    tokens = g.choice(size, (25, 60), p=g.dirichlet(np.ones(size))).astype(np.int32)
    length = g.integers(1, 61, 25)
    pairs, bags = np.zeros((25, 60, 2), np.int32), np.zeros((25, size), np.int32)
    for i, n in enumerate(length):
        words, counts = np.unique(tokens[i, :n], return_counts=True)
        order = g.permutation(len(words))
        pairs[i, : len(words)] = np.stack([words, counts], -1)[order]
        bags[i, words] = counts
    nets = [
        evaluate.word_frequencies(field)
        for field in (Field((60,), SYMBOL, size), Field((60, 2), COUNT, size), Field((size,), COUNT))
    ]
    assert len({(net.name, net.hash) for net in nets}) == 1
    by_tokens, by_pairs = nets[0].extract(tokens, length=length)[0], nets[1].extract(pairs)[0]
    np.testing.assert_array_equal(by_tokens, by_pairs)
    np.testing.assert_array_equal(by_tokens, nets[2].extract(bags)[0])
    shares = bags / bags.sum(1, keepdims=True)
    if size <= 256:
        np.testing.assert_allclose(by_tokens, shares, atol=1e-7)
    else:
        distances = np.linalg.norm(shares[:, None] - shares, axis=-1)
        found = np.linalg.norm(by_tokens[:, None] - by_tokens, axis=-1)
        others = ~np.eye(25, dtype=bool)
        assert np.abs(found[others] / distances[others] - 1).max() < 0.25
    sides = [evaluate.summarise(evaluate.from_array(tokens, Field((60,), SYMBOL, size), length=length), nets[0])]
    sides.append(evaluate.summarise(pairs, nets[1]))
    assert evaluate.measure(*sides, ["fid"])["frechet_distance"].value < 1e-6


def test_hashes_are_the_same_for_ever():
    """These come from raw words of Philox; if they change, old cards no longer compare."""
    nets = [evaluate.identity((2,)), evaluate.pair_frequencies(4), evaluate.pair_frequencies(65),
            evaluate.word_frequencies(Field((1000,), COUNT))]  # fmt: skip
    assert len({net.hash for net in nets}) == 4
    hashes = ["5bf0889d1e8d56dd", "337cd04ef683685e", "310a7f3e142b5f39", "8cf2e67752c4f8a7"]
    assert [net.hash for net in nets] == hashes
    assert evaluate.pair_frequencies(5).hash != evaluate.pair_frequencies(4).hash


def test_integers_that_are_no_symbols_are_refused():
    nets = {
        "symbols of 0..2, got 0..3": (evaluate.pair_frequencies(3), np.array([[0, 3]], np.int32)),
        "symbols of 0..2, got -1..0": (evaluate.pair_frequencies(3), np.array([[0, -1]], np.int32)),
        "symbols of 0..2, got 3..3": (evaluate.word_frequencies(Field((1, 2), COUNT, 3)), np.array([[[3, 1]]], "i4")),
        "counts of 0 or more, got -1": (
            evaluate.word_frequencies(Field((1, 2), COUNT, 3)),
            np.array([[[2, -1]]], "i4"),
        ),
        "counts of 0 or more, got -2": (evaluate.word_frequencies(Field((3,), COUNT)), np.array([[1, -2, 0]], "i4")),
    }
    for message, (net, examples) in nets.items():
        with pytest.raises(ValueError, match=message):
            net.extract(examples)
    found = evaluate.pair_frequencies(3).extract(np.array([[0, 1, -1]], np.int32), length=np.array([2]))[0]
    np.testing.assert_allclose(found[0], [0.5, 0.5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("field", [Field((), SYMBOL, 3), Field((4, 4), SYMBOL, 3), Field((5, 3), COUNT, 3),
                                   Field((5,), SYMBOL), Field((4,), PIXELS)])  # fmt: skip
def test_fields_that_nothing_measures_are_refused(field):
    with pytest.raises(ValueError, match=r"expected|give the field its size") as error:
        evaluate.features_of(field)
    assert "\n" not in str(error.value)


# Modes


POINTS = Field((2,), REAL)


def points(mixture, name, n=1000, seed=0):
    found = evaluate.from_array(mixture.sample(n, seed=seed).astype(np.float32), POINTS, name=name)
    return evaluate.summarise(found, evaluate.features_of(POINTS))


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_modes_are_a_metric_of_known_mixtures(name):
    mixture = {"ring": evaluate.ring, "grid": evaluate.grid}[name]()
    reference, generated = points(mixture, name), points(mixture, "run", seed=1)
    found = evaluate.measure(generated, reference, ["modes"], replicates=6)
    expected = evaluate.modes(mixture.sample(1000, seed=1).astype(np.float32), mixture)
    assert [found[n].value for n in ("modes_found", "good_share", "reverse_kl")] == pytest.approx(tuple(expected))
    low, high = found["good_share"].interval
    assert low < found["good_share"].value < high
    half = mixture._replace(weights=np.where(np.arange(len(mixture.centres)) < 4, 1 / 4, 0))
    dropped = evaluate.measure(points(half, "run", seed=2), reference, ["modes"])
    assert dropped["modes_found"].value == 4
    card = evaluate.cards(found, generated, reference)[0]
    assert str(card).startswith(f"modes_found ({len(mixture.centres)} of deviation {mixture.deviation:g})")


def test_modes_of_anything_else_are_refused():
    ring, grid = points(evaluate.ring(), "ring"), points(evaluate.grid(), "ring")
    images = statistics("images")
    for reference, message in ((points(evaluate.ring(), "moons"), "against the data ring or grid"),
                               (dataclasses.replace(images, name="ring"), "against the data ring or grid"),
                               (grid, "is not that mixture")):  # fmt: skip
        generated = images if reference.network != "identity" else ring
        with pytest.raises(ValueError, match=message):
            evaluate.measure(generated, reference, ["modes"])


# Files


def run(arguments, capsys):
    status = cli.execute(lambda: command.main(list(map(str, arguments))), data_error=data.DataError)
    out, error = capsys.readouterr()
    return status, out, error.splitlines()


def files(folder):
    g = generator(4)
    arrays = {
        "points": g.normal(size=(2, 60, 2)),
        "functions": g.normal(size=(2, 60, 5, 2)).astype(np.float32),
        "symbols": g.integers(0, 4, (2, 60, 9)),
        "videos": g.integers(0, 256, (2, 60, 2, 8, 8, 1), dtype=np.uint8),
    }
    for name, (a, b) in arrays.items():
        np.save(folder / f"{name}-a.npy", a)
        np.savez(folder / f"{name}-b.npz", b)
    return arrays


NAMES = {"points": "identity", "functions": "identity", "symbols": "pairs", "videos": "random-frames"}


@pytest.mark.parametrize("kind", NAMES)
def test_the_command_measures_files_of_every_kind(kind, tmp_path, capsys):
    arrays = files(tmp_path)
    options = ["--features", "random", "--batch-size", 64]
    sides = [tmp_path / f"{kind}-a.npy", tmp_path / f"{kind}-b.npz"]
    status, out, _ = run([*sides, "--metrics", "fid,prdc", "--json", *options], capsys)
    cards = json.loads(out)
    assert status == 0 and cards[0]["metric"] == f"FD-{NAMES[kind]}"
    a, b = arrays[kind]
    if NAMES[kind] == "identity":
        x, y = (v.astype(np.float32).reshape(60, -1) for v in (a, b))
        assert cards[0]["value"] == pytest.approx(evaluate.frechet_distance(x, y), rel=1e-6)
    saved = tmp_path / "x.safetensors"
    assert run([sides[1], "--save-statistics", saved, *options], capsys)[0] == 0
    again = json.loads(run([sides[0], saved, "--metrics", "fid", "--json", *options[2:]], capsys)[1])
    assert again[0]["value"] == pytest.approx(cards[0]["value"], rel=1e-9)


def test_lengths_stand_beside_arrays_in_a_file(tmp_path):
    x, length = integers((9,), 4)(20, 0), np.arange(20) % 10
    np.savez(tmp_path / "x.npz", sequence=x, length=length)
    found = evaluate.open_examples(tmp_path / "x.npz")
    assert found.field == Field((9,), SYMBOL, 4) and found.quantisation == "none"
    (batch,) = found.batches(50)
    np.testing.assert_array_equal(batch.examples, x)
    np.testing.assert_array_equal(batch.length, length)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 8, 8, 3), np.float32), "expected uint8 images"),
        (np.zeros((5, 8, 8, 1)), "expected uint8 images"),
        (np.zeros((5, 8, 8), np.int64), "expected uint8 images"),
        (np.zeros((5,), np.float32), "expected uint8 images"),
        (np.full((5, 2), np.nan), "not finite"),
        (np.zeros((5, 9), np.uint8), "expected images"),
        (np.zeros((0, 2)), "expected"),
        (np.full((5, 3), "a"), "expected"),
        (np.full((5, 3), -1), "negative"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_are_nothing_are_refused(array, message, suffix, tmp_path):
    path = tmp_path / f"x.{suffix}"
    np.save(path, array) if suffix == "npy" else np.savez(path, array)
    with pytest.raises(data.DataError, match=message) as error:
        evaluate.open_examples(path)
    assert "x.np" in str(error.value) and "\n" not in str(error.value)
