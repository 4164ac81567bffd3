"""Data of any kind: what is made of arrays, what is refused, and that a run tells its model what it should."""

import numpy as np
import pytest

import gen_jax
from gen_jax import data
from gen_jax.fields import (
    COUNT,
    KINDS,
    PIXELS,
    REAL,
    SYMBOL,
    Field,
    classes_of,
    from_json,
    images,
    known_classes,
    made_of,
    of_images,
    to_json,
)
from gen_jax.models import DenseVAEConfig, GMMConfig

RNG = np.random.default_rng(0)
ONE_STEP = gen_jax.Training(steps=1, batch_size=8)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_stored_comes_back(kind):
    x = np.arange(256).astype(kind.stored)
    seen = np.asarray(kind.prepare(x))
    assert seen.dtype == kind.seen and np.abs(seen).max() <= kind.limit
    back = kind.store(seen)
    assert isinstance(back, np.ndarray) and back.dtype == kind.stored
    np.testing.assert_array_equal(back, x)
    if kind.level:
        np.testing.assert_allclose(np.diff(seen), kind.level, rtol=1e-5)


def test_fields_survive_json():
    fields = {"video": Field((4, 8, 8, 3), PIXELS), "word": Field((5,), SYMBOL, 9), "count": Field((5,), COUNT)}
    assert from_json(to_json(fields)) == fields


def test_models_find_what_they_are_of():
    assert of_images(images((4, 6, 1), 3)) == ((4, 6, 1), 3) and classes_of(images((4, 4, 1))) == 0
    point, label = Field((2,), REAL), Field((), SYMBOL, 5)
    assert made_of({"point": point, "label": label}) == ("point", point)
    assert made_of({"attribute": point, **images((4, 4, 1))})[0] == "image"
    assert known_classes({"label": label}, conditional=True) == 5 and known_classes({}, conditional=False) == 0
    for fields, message in (
        ({"label": label}, "one field of pixels or real numbers"),
        ({"a": point, "b": point}, r"a real \[2\], b real \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            made_of(fields)
    with pytest.raises(ValueError, match="a field 'image'"):
        of_images({"point": point})
    with pytest.raises(ValueError, match="expected labelled data"):
        known_classes({"point": point}, conditional=True)


def test_arrays_say_what_they_are():
    source = data.from_fields(
        {
            "video": np.zeros((6, 2, 4, 4, 3), np.uint8),
            "point": RNG.normal(size=(6, 2)),
            "state": np.array([[0, 2], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]]),
            "count": np.ones((6, 3), np.int64),
            "label": np.array([0, 1, 1, 1, 0, 2]),
        }
    )
    assert source.fields == {
        "video": Field((2, 4, 4, 3), PIXELS),
        "point": Field((2,), REAL),
        "state": Field((2,), SYMBOL, 3),
        "count": Field((3,), COUNT),
        "label": Field((), SYMBOL, 3),
    }
    assert source.counts == {"label": (2, 3, 1)} and source.size == 6
    batch = source.read(np.array([5, 0]))
    assert {name: x.dtype for name, x in batch.items()} == {
        "video": np.uint8, "point": np.float32, "state": np.int32, "count": np.int32, "label": np.int32
    }  # fmt: skip
    assert batch["label"].tolist() == [2, 0]
    renamed = source.renamed(video="other", label="class")
    assert set(renamed.fields) == {"other", "point", "state", "count", "class"} and renamed.counts["class"] == (2, 3, 1)
    assert renamed.read(np.array([5]))["class"].tolist() == [2]


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        ({}, None, "at least one array"),
        ({"point": np.array([[0.0, np.nan]])}, None, "finite real numbers"),
        ({"state": np.array([[-1, 0]])}, None, "expected values in 0..0, got -1"),
        ({"state": np.array([["a"]])}, None, "array of numbers"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((4, 2))}, None, "3 of a, 4 of b"),
        ({"a": np.zeros((0, 2))}, None, "at least one example"),
        ({"state": np.array([[5]])}, {"state": Field((1,), SYMBOL, 4)}, "expected values in 0..3, got 5"),
        ({"state": np.array([[0.5]])}, {"state": Field((1,), SYMBOL, 4)}, "whole numbers"),
        ({"point": np.zeros((3, 2))}, {"point": Field((3,), REAL)}, "examples of shape .3."),
        ({"point": np.zeros((3, 2))}, {"other": Field((2,), REAL)}, "an array of the field 'other'"),
        ({"image": np.zeros((3, 4, 4, 1))}, None, "expected uint8 images"),
    ],
)
def test_arrays_that_are_refused(values, fields, message):
    with pytest.raises(data.DataError, match=message) as error:
        data.from_fields(values, fields)
    assert "\n" not in str(error.value)


def test_names_belong_to_values():
    values = {"state": np.array([[0, 1, 2]])}
    assert data.from_fields(values, names={"state": ["a", "b", "c"]}).names == {"state": ("a", "b", "c")}
    for names in ({"state": ["a"]}, {"other": ["a"]}):
        with pytest.raises(data.DataError, match="names"):
            data.from_fields(values, names=names)


def test_npz_files_hold_any_fields(tmp_path):
    points = RNG.normal(size=(20, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", point=points, label=np.arange(20) % 3)
    train, test = (data.load(str(tmp_path / "points.npz"), split=split) for split in ("train", "test"))
    assert train.fields == test.fields == {"point": Field((2,), REAL), "label": Field((), SYMBOL, 3)}
    assert (train.size, test.size) == (18, 2)
    both = np.concatenate([source.read(np.arange(source.size))["point"] for source in (train, test)])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(points, axis=0))
    with pytest.raises(data.DataError, match="these are no images"):
        data.load(str(tmp_path / "points.npz"), image_size=8)


def test_two_sources_stand_side_by_side():
    a = data.from_arrays(np.full((12, 4, 4, 1), 50, np.uint8), np.arange(12) % 2)
    b = data.from_arrays(np.full((10, 6, 4, 1), 200, np.uint8), np.arange(10) % 3)
    batches = data.Unpaired(
        (data.Batches(a, 4, seed=0), data.Batches(b.renamed(image="other", label="kind"), 4, seed=1))
    )
    batch = batches.batch(3)
    assert batch["image"].shape == (4, 4, 4, 1) and (batch["other"] == 200).all() and batches.batch_size == 4
    for step, again in zip(range(3, 6), batches.iterate(3)):
        for name, values in batches.batch(step).items():
            np.testing.assert_array_equal(values, again[name])
    with pytest.raises(data.DataError, match=r"source\.renamed"):
        data.Unpaired((data.Batches(a, 4, seed=0), data.Batches(b, 4, seed=0)))


def test_bytes_alone_are_mirrored_and_shifted():
    import jax

    clip = RNG.integers(0, 256, (4, 3, 8, 8, 1), dtype=np.uint8)
    fields = {"video": Field(clip.shape[1:], PIXELS), "point": Field((2,), REAL)}
    batch = {"video": clip, "point": np.ones((4, 2), np.float32)}
    seen = data.prepare(batch, jax.random.key(0), fields=fields, flip=True, crop=0)
    same = (np.asarray(PIXELS.store(seen["video"])) == clip).all(axis=(1, 2, 3, 4))
    mirrored = (np.asarray(PIXELS.store(seen["video"])) == clip[:, :, :, ::-1]).all(axis=(1, 2, 3, 4))
    assert (same | mirrored).all() and mirrored.any() and (np.asarray(seen["point"]) == 1).all()
    shifted = data.prepare(batch, jax.random.key(0), fields=fields, crop=2)["video"]
    assert shifted.shape == clip.shape and not np.array_equal(np.asarray(PIXELS.store(shifted)), clip)


def fit(configuration, examples, **options):
    return gen_jax.fit(configuration, examples, quiet=True, **{"training": ONE_STEP, **options})


def test_what_is_not_said_is_drawn_with_the_frequencies_of_the_data():
    label = np.repeat([0, 2], [30, 10])  # no 1 at all
    run = fit(
        DenseVAEConfig(latent=2, hidden=(4,), conditional=True, likelihood="gaussian"),
        {"point": RNG.normal(size=(40, 2)), "label": label},
    )
    told = run.conditions(0, 4000)["label"]
    assert set(told) == {0, 2} and abs((told == 0).mean() - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5
    np.testing.assert_array_equal(run.conditions(0, 10)["label"], told[:10])
    assert (run.conditions(0, 5, label=2)["label"] == 2).all()
    np.testing.assert_array_equal(run.sample(0, 5), run.sample(0, 5, label=told[:5]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": 3}, "label must be in 0..2, got 3..3"),
        ({"label": [0, 1]}, r"shape \[\] for all or \[4\], got \[2\]"),
        ({"attribute": 1.0}, "attribute was given, but this model is told label"),
    ],
)
def test_what_cannot_be_told(given, message):
    points = {"point": RNG.normal(size=(16, 2)), "label": np.arange(16) % 3}
    run = fit(DenseVAEConfig(latent=2, hidden=(4,), conditional=True, likelihood="gaussian"), points)
    with pytest.raises(ValueError, match=message):
        run.sample(0, 4, **given)


def test_samples_do_not_depend_on_how_many_are_drawn_at_a_time():
    run = fit(GMMConfig(components=2, covariance="diagonal"), {"point": RNG.normal(size=(32, 3))})
    whole = run.sample(3, 11)
    for size in (1, 2, 4, 11, 100):
        np.testing.assert_allclose(run.sample(3, 11, batch_size=size), whole, rtol=1e-6)
    np.testing.assert_allclose(run.sample(3, 5), whole[:5], rtol=1e-6)
    assert len(np.unique(whole[:, 0])) == 11 and run.sample(3, 0).shape == (0, 3)
    nats = run.log_prob(0, whole)
    for size in (1, 3):
        np.testing.assert_allclose(run.log_prob(0, whole, batch_size=size), nats, rtol=1e-5)


def test_data_in_other_forms_are_refused_in_one_line(tmp_path):
    images_, points = np.zeros((8, 4, 4, 1), np.uint8), {"point": np.zeros((8, 2))}
    for examples, options, message in (
        (points, {"labels": np.zeros(8, int)}, "labels are taken beside an array"),
        (points, {"image_size": 8}, "resize the arrays"),
        (images_, {"image_size": 8}, "resize the arrays"),
        ("digits", {"labels": np.zeros(8, int)}, "labels are taken beside an array"),
        ((), {}, "empty tuple"),
    ):
        with pytest.raises(data.DataError, match=message):
            fit(GMMConfig(components=2), examples, **options)
