"""Sets of images, what is gathered of them in one pass, and that it depends on nothing but the images."""

import dataclasses
import tracemalloc

import jax
import numpy as np
import pytest
from PIL import Image

from gen_jax import data, evaluate
from gen_jax.evaluate.sets import Batch
from gen_jax.fields import PIXELS, Field

METRICS = ("fid", "prdc", "is", "kid")
SETTINGS = evaluate.Choices(splits=3, subsets=5, subset_size=40)


def pictures(n, shape=(8, 8, 1), seed=0, low=0):
    return np.random.default_rng(seed).integers(low, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def net():
    return evaluate.named_feature_network("digits")


@pytest.fixture(scope="module")
def reference(net):
    return evaluate.summarise(pictures(131, seed=1, low=64), net)


def values(statistics, reference, metrics=METRICS):
    found = evaluate.measure(statistics, reference, metrics, settings=SETTINGS)
    return {name: figure.value for name, figure in found.items()}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_figures_do_not_depend_on_the_batch_or_its_padding(net, reference, batch_size):
    images = pictures(129)  # no batch size divides it
    expected = values(evaluate.summarise(images, net, batch_size=129), reference)
    found = values(evaluate.summarise(images, net, batch_size=batch_size), reference)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore:a Frechet distance from")
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_figures_do_not_depend_on_the_number_of_devices(net, reference, count, monkeypatch):
    expected = values(evaluate.summarise(pictures(45), net, batch_size=48), reference)  # all devices, six images each
    devices = jax.local_devices()[:count]
    assert len(devices) == count
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    seen = []
    spied = dataclasses.replace(
        net, prepare=lambda images: jax.debug.inspect_array_sharding(images, callback=seen.append) or images
    )
    assert values(evaluate.summarise(pictures(45), spied, batch_size=48), reference) == pytest.approx(
        expected, abs=1e-4
    )
    assert all(len(sharding.device_set) == count for sharding in seen) and seen


def test_figures_do_not_depend_on_the_order(net, reference):
    """What draws parts of a set (score, kernel distance) is left out: other parts are other figures."""
    images, metrics = pictures(90), ("fid", "prdc", "memorisation")
    found = [
        values(evaluate.summarise(images[np.random.default_rng(seed).permutation(90)], net), reference, metrics)
        for seed in range(3)
    ]
    assert found[1] == pytest.approx(found[0], abs=1e-4) and found[2] == pytest.approx(found[0], abs=1e-4)


@pytest.mark.parametrize("batch_size", [5, 64])
def test_what_is_streamed_equals_what_is_kept(net, reference, batch_size, monkeypatch):
    monkeypatch.setattr(evaluate.statistics, "_CHUNK", 16)
    images = pictures(101)
    kept = evaluate.summarise(images, net, batch_size=batch_size)
    streamed = evaluate.summarise(images, net, batch_size=batch_size, keep=False, splits=3)
    assert streamed.features is None and streamed.probabilities is None
    assert (streamed.n, streamed.fingerprint, streamed.shape) == (kept.n, kept.fingerprint, kept.shape)
    assert values(streamed, reference, ("fid", "is")) == pytest.approx(values(kept, reference, ("fid", "is")), rel=1e-9)


def test_streams_come_in_any_order():
    g = np.random.default_rng(0)
    features = g.normal(size=(50, 3)).astype(np.float32) + 1e4
    probabilities = g.dirichlet(np.ones(4), 50)
    order = np.array_split(g.permutation(50), 7)
    for keep in (False, True):
        gathered = evaluate.Accumulator(50, keep=keep, splits=5)
        for indices in order:
            gathered.add(indices, features[indices], probabilities[indices])
        found = gathered.finish(
            name="x", split="", fingerprint="", quantisation="", network="", network_hash="", resize="none"
        )
        np.testing.assert_allclose(found.moments.mean, features.mean(0, dtype=np.float64), rtol=1e-12)
        expected = np.cov(features.astype(np.float64), rowvar=False)
        np.testing.assert_allclose(found.moments.covariance, expected, rtol=1e-7)
        assert found.score(5) == pytest.approx(evaluate.classifier_score(probabilities, splits=5), rel=1e-6)


def test_examples_counted_twice_or_not_at_all_are_refused():
    features = np.zeros((4, 2), np.float32)
    gathered = evaluate.Accumulator(10, keep=False)
    gathered.add(np.arange(4), features)
    with pytest.raises(ValueError, match="second time"):
        gathered.add(np.arange(3, 7), features)
    with pytest.raises(ValueError, match="expected 10 examples, got 4"):
        gathered.finish()


def test_a_large_set_in_constant_memory(net, monkeypatch):
    """Of images that are made as they are read, five times as many need no more memory."""
    monkeypatch.setattr(evaluate.statistics, "_CHUNK", 128)

    def peak(n):
        def batches(size):
            for start in range(0, n, size):
                count = min(size, n - start)
                yield Batch(np.arange(start, start + count), pictures(count, seed=start))

        tracemalloc.start()
        evaluate.summarise(
            evaluate.ExampleSet("made", "", n, Field((8, 8, 1), PIXELS), batches), net, keep=False, batch_size=64
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(128)  # compiles
    few, many = peak(320), peak(1600)
    assert many < few + 100_000  # the others' features alone would be 328 KB


def test_fingerprints_see_pixels_and_nothing_else(net, tmp_path):
    images = pictures(20)
    mark = evaluate.summarise(images, net).fingerprint
    assert evaluate.summarise(images[::-1], net, batch_size=3).fingerprint == mark
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:02d}.png")
    assert evaluate.summarise(evaluate.from_folder(tmp_path), net).fingerprint == mark
    changed = images.copy()
    changed[7, 3, 3, 0] ^= 1
    assert evaluate.summarise(changed, net).fingerprint != mark
    assert evaluate.summarise(np.concatenate([images, images[:1]]), net).fingerprint != mark


@pytest.mark.parametrize("keep", [True, False])
def test_saved_statistics_measure_alike(net, reference, keep, tmp_path):
    statistics = evaluate.summarise(pictures(70), net, keep=keep, splits=3)
    evaluate.save_statistics(tmp_path / "x.safetensors", statistics)
    loaded = evaluate.load_statistics(tmp_path / "x.safetensors")
    metrics = METRICS if keep else ("fid", "is")
    assert values(loaded, reference, metrics) == values(statistics, reference, metrics)
    assert loaded.fingerprint == statistics.fingerprint and loaded.shape == (8, 8, 1)


@pytest.mark.parametrize("kind", ["missing", "text", "others"])
def test_files_that_are_no_statistics(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    if kind == "text":
        path.write_text("hello")
    elif kind == "others":
        path.write_bytes((evaluate.features.WEIGHTS / "digits.safetensors").read_bytes())
    with pytest.raises(data.DataError, match="expected statistics that --save-statistics wrote"):
        evaluate.load_statistics(path)


# Borders: what becomes of a file


def saved(folder, image, name="a.png", **options):
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **options)
    return folder


def read(folder):
    found = evaluate.from_folder(folder)
    (batch,) = found.batches(10)
    return found, batch.examples


GREY, COLOUR = pictures(1, (6, 10, 1))[0], pictures(1, (6, 10, 3))[0]  # neither square nor divisible by four


def test_png_is_read_as_it_is(tmp_path):
    assert (read(saved(tmp_path / "grey", Image.fromarray(GREY[..., 0])))[1][0] == GREY).all()
    assert (read(saved(tmp_path / "colour", Image.fromarray(COLOUR)))[1][0] == COLOUR).all()


def test_jpeg_is_read_and_named(tmp_path):
    found, images = read(saved(tmp_path / "jpeg", Image.fromarray(COLOUR), "a.jpg", quality=95))
    assert images.shape == (1, 6, 10, 3) and found.quantisation == "8 bits, jpg"
    assert read(saved(tmp_path / "png", Image.fromarray(COLOUR)))[0].quantisation == "8 bits"


def test_palettes_transparency_and_rotation(tmp_path):
    palette = Image.fromarray(COLOUR).quantize(256)
    assert (read(saved(tmp_path / "p", palette))[1][0] == np.asarray(palette.convert("RGB"))).all()
    clear = np.concatenate([COLOUR, np.zeros((6, 10, 1), np.uint8)], -1)
    assert (read(saved(tmp_path / "rgba", Image.fromarray(clear)))[1] == 255).all()  # nothing, over white
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    rotated = read(saved(tmp_path / "exif", Image.fromarray(COLOUR), exif=exif))[1][0]
    assert (rotated == np.rot90(COLOUR, -1)).all()


def test_grey_beside_colour_becomes_colour_and_sizes_may_differ(tmp_path):
    saved(tmp_path / "x", Image.fromarray(GREY[..., 0]), "a.png")
    saved(tmp_path / "x", Image.fromarray(COLOUR), "b.png")
    saved(tmp_path / "x", Image.fromarray(COLOUR[:4]), "c.png")
    found = evaluate.from_folder(tmp_path / "x")
    batches = {tuple(batch.indices): batch.examples for batch in found.batches(10)}
    assert found.field.shape[2] == 3 and set(batches) == {(0, 1), (2,)}
    assert (batches[0, 1][0] == GREY).all() and (batches[2,][0] == COLOUR[:4]).all()


def test_files_that_are_refused_by_name(tmp_path):
    deep = Image.fromarray(np.zeros((8, 8), np.uint16))
    saved(tmp_path / "deep", deep, "deep.png")
    with pytest.raises(data.DataError, match=r"deep\.png.*16 bits"):
        evaluate.from_folder(tmp_path / "deep")
    folder = saved(tmp_path / "broken", Image.fromarray(COLOUR), "whole.png")
    (folder / "text.png").write_text("hello")
    with pytest.raises(data.DataError, match=r"text\.png.*expected an image"):
        evaluate.from_folder(folder)
    (folder / "text.png").write_bytes((folder / "whole.png").read_bytes()[:-30])
    with pytest.raises(data.DataError, match=r"text\.png.*expected an image"):
        read(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(data.DataError, match="found none"):
        evaluate.from_folder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.random.default_rng(0).uniform(0, 1, (5, 8, 8, 3)), r"for values in \[0, 1\]"),
        (np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)), r"for values in \[-1, 1\]"),
        (pictures(5, (3, 8, 8)), "channels first"),
        (pictures(5, (8, 8, 4)), "alpha"),
        (pictures(5) % 2, "0 and 1 alone"),
        (pictures(5)[0, 0], "reshape"),
        (np.full((5, 8, 8, 1), np.nan), "not finite"),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(data.DataError, match=message) as error:
        evaluate.open_examples(tmp_path / "x.npy")
    assert "x.npy" in str(error.value) and "\n" not in str(error.value)


def test_a_collapsed_model_is_measured_and_not_refused(net, reference):
    for collapsed in (np.zeros((20, 8, 8, 1), np.uint8), np.repeat(pictures(1), 20, 0)):
        with pytest.warns(UserWarning, match="20 examples of 64 features"):
            found = values(evaluate.summarise(collapsed, net), reference)
        assert all(np.isfinite(value) for value in found.values()) and found["frechet_distance"] > 0
