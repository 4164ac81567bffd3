"""Data: every example once an epoch, the same bits both ways, one clear line for whatever cannot be used."""

import gzip
import os
import pathlib
import sys
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from gen_jax import data
from gen_jax.data import pipeline

GENERATOR = np.random.default_rng(0)


def pictures(n=6, side=8, channels=3):
    return GENERATOR.integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def save_folder(path: pathlib.Path, images, classes=0, suffix="png"):
    for i, image in enumerate(images):
        folder = path / f"class{i % classes}" if classes else path
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(folder / f"{i:03}.{suffix}")
    return path


def everything(path, **options):
    """Both splits of a source, as a set of byte strings, whatever their order."""
    sources = [data.load(str(path), split=split, **options) for split in ("train", "test")]
    return [source.image(np.arange(source.size)) for source in sources]


def as_set(*arrays):
    return sorted(image.tobytes() for array in arrays for image in array)


def refused(path, **options) -> str:
    with pytest.raises(data.DataError) as info:
        data.load(str(path), **options)
    message = str(info.value)
    assert "\n" not in message and len(message) < 500, message
    return message


# Named sets


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    train, test = data.load("digits"), data.load("digits", split="test")
    assert (train.size, test.size, train.shape, train.classes) == (1497, 300, (8, 8, 1), 10)
    images = np.concatenate([source.image(np.arange(source.size)) for source in (train, test)])
    labels = np.concatenate([source.label(np.arange(source.size)) for source in (train, test)])
    bunch = load_digits()
    grey = np.rint(images[..., 0] * 16.0 / 255)
    assert np.abs(images[..., 0] - grey * 255 / 16).max() <= 0.5 and images.max() == 255
    ours = sorted((*pixels.ravel(), label) for pixels, label in zip(grey, labels))
    assert ours == sorted((*pixels.ravel(), label) for pixels, label in zip(bunch.images, bunch.target))
    assert (np.bincount(test.label(np.arange(300))) == 30).all()
    assert train.fingerprint == data.load("digits").fingerprint != test.fingerprint


def write_idx(path, array):
    header = (0x0800 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    image, label = pictures(12, 28, 1)[..., 0], np.arange(12, dtype=np.uint8) % 10
    for prefix, kept in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", image[kept])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", label[kept])
    monkeypatch.setenv("GEN_JAX_DATA_DIR", str(tmp_path))
    return folder, image, label


def test_fashion_mnist_reads_idx_files(fashion):
    _, image, label = fashion
    source = data.load("fashion_mnist", split="test")
    assert (source.size, source.shape, source.classes) == (4, (28, 28, 1), 10)
    np.testing.assert_array_equal(source.image([1, 3])[..., 0], image[[9, 11]])
    np.testing.assert_array_equal(source.label([1, 3]), label[[9, 11]])
    assert "train, test" in refused("fashion_mnist", split="validation")
    assert data.load("fashion_mnist", image_size=32).shape == (32, 32, 1)


@pytest.mark.parametrize("damage", ["truncate", "flip", "magic", "lengths"])
def test_damaged_idx_file_is_named(fashion, damage):
    folder, image, label = fashion
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flip":
        path.write_bytes(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:])
    elif damage == "magic":
        write_idx(path, label)
    else:
        write_idx(path, image[:7])
    named = "7 images and 8 labels" if damage == "lengths" else path.name
    assert named in refused("fashion_mnist")


@pytest.mark.parametrize(
    ("name", "near"), [("digit", "'digits'"), ("fashion_mnst", "'fashion_mnist'"), ("cifar_10", "'cifar10'")]
)
def test_unknown_name_suggests_the_nearest(name, near):
    assert near in refused(name)


def test_missing_path_suggests_the_nearest(tmp_path):
    save_folder(tmp_path / "faces", pictures())
    assert "faces" in refused(tmp_path / "faecs")
    assert "check the path" in refused(tmp_path / "zzz" / "x.npy")
    assert "File name too long" in refused("/" + "a" * 5000)


# TFDS


@pytest.fixture(scope="module")
def tfds_directory(tmp_path_factory):
    """A tiny set, prepared on the spot: no network, no TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    images, labels = pictures(20, 12, 3), np.arange(20) % 3
    with registered.skip_registration():

        class TinyPictures(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = "tiny_pictures"

            def _info(self):
                features = tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(None, None, 3)),
                        "label": tfds.features.ClassLabel(num_classes=3),
                    }
                )
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager):
                return {
                    "train": self._generate_examples(0, 15),
                    "validation": self._generate_examples(15, 20),
                }

            def _generate_examples(self, start, stop):
                for i in range(start, stop):
                    yield i, {"image": Image.fromarray(images[i]), "label": int(labels[i])}

    directory = tmp_path_factory.mktemp("tfds")
    TinyPictures(data_dir=directory, file_format="array_record").download_and_prepare()
    return directory, images, labels


@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
def test_tfds_set_without_tensorflow(tfds_directory, monkeypatch, memory_limit):
    directory, images, labels = tfds_directory
    monkeypatch.setenv("TFDS_DATA_DIR", str(directory))
    source = data.load("tiny_pictures", memory_limit=memory_limit)
    assert (source.size, source.shape, source.classes, source.in_memory) == (
        15,
        (12, 12, 3),
        3,
        memory_limit > 0,
    )
    rows = np.arange(15)
    expected = sorted(zip((image.tobytes() for image in images[:15]), labels[:15]))
    assert sorted(zip((image.tobytes() for image in source.image(rows)), source.label(rows))) == expected
    assert data.load("tiny_pictures", split="validation").size == 5
    assert data.load("tiny_pictures", split="train[:4]").size == 4
    assert "train, validation" in refused("tiny_pictures", split="test")
    assert data.load("tiny_pictures", image_size=8, memory_limit=memory_limit).image([0, 1]).shape == (
        2,
        8,
        8,
        3,
    )
    batches = data.Batches(source, 4, seed=1)
    for step, batch in zip(range(5, 10), batches.iterate(5)):
        np.testing.assert_array_equal(batch["image"], batches.batch(step)["image"])
        np.testing.assert_array_equal(batch["label"], batches.batch(step)["label"])
    assert "tensorflow" not in sys.modules


def test_tfds_set_that_is_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert "download_and_prepare" in refused("cifar10")


# Folders


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["png", "bmp"])
@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
def test_folder_is_lossless(tmp_path, channels, suffix, memory_limit):
    images = pictures(20, 8, channels)
    train, test = everything(save_folder(tmp_path / "x", images, suffix=suffix), memory_limit=memory_limit)
    assert (len(train), len(test)) == (18, 2) and train.shape[1:] == (8, 8, channels)
    assert as_set(train, test) == as_set(images)


def test_sub_folders_are_classes(tmp_path):
    images = pictures(9, 8, 1)
    images[:, 0, 0, 0] = np.arange(9) % 3
    path = save_folder(tmp_path / "x", images, classes=3)
    (path / ".hidden").mkdir()
    source = data.load(str(path))
    assert source.classes == 3
    np.testing.assert_array_equal(source.label(np.arange(8)), source.image(np.arange(8))[:, 0, 0, 0])
    one = data.load(str(save_folder(tmp_path / "y", images, classes=1)))
    assert (one.classes, set(one.read(np.arange(3)))) == (0, {"image"})
    with pytest.raises(data.DataError, match="has none"):
        one.label([0])


def borders():
    """Pictures in a file, and what they should be read as."""
    grey, colour = pictures(1, 8, 1)[0], pictures(1, 8, 3)[0]
    alpha = GENERATOR.integers(0, 2, (8, 8, 1), dtype=np.uint8) * 255
    white = np.where(alpha == 255, colour, 255)
    bits = GENERATOR.integers(0, 2, (8, 8), dtype=np.uint8) * 255
    few = colour // 128 * 255  # at most 8 colours, so that a palette loses nothing
    palette = Image.fromarray(few).quantize(16)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held so that the picture must be turned clockwise by a right angle
    return {
        "grey": (Image.fromarray(grey[..., 0]), {}, grey),
        "one bit": (Image.fromarray(bits).convert("1"), {}, bits[..., None]),
        "grey with alpha": (
            Image.fromarray(np.concatenate([grey, alpha], -1)),
            {},
            np.where(alpha == 255, grey, 255),
        ),
        "alpha": (Image.fromarray(np.concatenate([colour, alpha], -1)), {}, white),
        "palette": (palette, {}, np.asarray(palette.convert("RGB"))),
        "palette with a transparent colour": (
            palette,
            {"transparency": 0},
            np.where(np.asarray(palette)[..., None] == 0, 255, np.asarray(palette.convert("RGB"))),
        ),
        "turned": (Image.fromarray(colour), {"exif": turned}, np.rot90(colour, -1)),
    }


@pytest.mark.parametrize("kind", borders())
def test_what_pictures_become(tmp_path, kind):
    image, options, expected = borders()[kind]
    for name in ("a", "b"):
        image.save(tmp_path / f"{name}.png", **options)
    (read,) = data.load(str(tmp_path)).image([0])
    np.testing.assert_array_equal(read, expected)


def test_grey_and_colour_together_are_colour(tmp_path):
    save_folder(tmp_path, pictures(2, 8, 3))
    grey = pictures(1, 8, 1)[0]
    Image.fromarray(grey[..., 0]).save(tmp_path / "zzz.png")
    found = as_set(*everything(tmp_path))
    assert np.repeat(grey, 3, -1).tobytes() in found


def test_first_frame_of_animations(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (10, 200)]
    for name in ("a", "b"):
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:])
    assert (data.load(str(tmp_path)).image([0]) == 10).all()


def test_cmyk_is_colour(tmp_path):
    for name in ("a", "b"):
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / f"{name}.jpg")
    pixels = data.load(str(tmp_path)).image([0])
    assert pixels.shape == (1, 8, 8, 3) and (pixels[..., 0] > 200).all() and (pixels[..., 1:] < 50).all()


def test_resize_equals_pillow_with_antialiasing(tmp_path):
    image = pictures(1, 40, 3)[0]
    tall = np.concatenate([pictures(1, 40, 3)[0][:4], image, pictures(1, 40, 3)[0][:4]])
    for name in ("a", "b"):
        Image.fromarray(tall).save(tmp_path / f"{name}.png")
    assert data.load(str(tmp_path)).shape == (48, 40, 3)
    (read,) = data.load(str(tmp_path), image_size=8).image([0])
    expected = Image.fromarray(image).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read, np.asarray(expected))
    assert abs(read.mean() - image.mean()) < 4  # a picked pixel of noise would be much further away
    assert read.std() < 0.35 * image.std()


def damage(path: pathlib.Path, kind: str) -> None:
    whole = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        path.write_text("these are not pixels")
    elif kind == "checksum":
        path.write_bytes(whole[:-14] + bytes([whole[-14] ^ 1]) + whole[-13:])
    elif kind == "dangling link":
        path.unlink()
        path.symlink_to(path.parent / "nowhere.png")
    elif kind == "link to itself":
        path.unlink()
        path.symlink_to(path)
    elif kind == "16 bits":
        Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(path, format="PNG")
    elif kind == "floats":
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path, format="TIFF")
    elif kind == "bomb":
        header = b"IHDR" + (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
        chunk = (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        path.write_bytes(whole[:8] + chunk + whole[33:])
    elif kind == "size":
        Image.fromarray(pictures(1, 12)[0]).save(path)
    elif kind == "a folder":
        path.unlink()
        path.mkdir()


KINDS = (
    "empty",
    "truncated",
    "text",
    "checksum",
    "dangling link",
    "link to itself",
    "16 bits",
    "floats",
    "bomb",
)
KINDS += ("size", "a folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_one_bad_picture_among_good_ones_is_named(tmp_path, kind, seed):
    save_folder(tmp_path, pictures(30))
    bad = tmp_path / f"{np.random.default_rng(seed).integers(30):03}.png"
    damage(bad, kind)
    assert bad.name in refused(tmp_path)


def test_truncated_jpeg_is_named(tmp_path):
    save_folder(tmp_path, pictures(3, 32), suffix="jpg")
    path = tmp_path / "001.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    assert "001.jpg" in refused(tmp_path)


def test_colour_png_of_16_bits_is_refused(tmp_path):
    save_folder(tmp_path, pictures(2))
    rows = b"".join(b"\0" + bytes(8 * 6) for _ in range(8))
    chunks = [
        (b"IHDR", (8).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    body = b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "deep.png" in refused(tmp_path) and "16 bits" in refused(tmp_path)


def test_odd_names_make_one_printable_line(tmp_path):
    save_folder(tmp_path, pictures(2))
    for name in (b"new\nline.png", b"not \xff utf-8.png"):
        pathlib.Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"")
        refused(tmp_path).encode()
        os.unlink(os.path.join(os.fsencode(tmp_path), name))
    assert data.load(str(tmp_path)).size == 1


def test_folder_layouts_that_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "found none" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "note.txt").write_text("hello")
    assert "found none" in refused(tmp_path / "empty")
    mixed = save_folder(tmp_path / "mixed", pictures(4), classes=2)
    Image.fromarray(pictures(1)[0]).save(mixed / "loose.png")
    assert "loose.png" in refused(mixed)
    deep = save_folder(tmp_path / "deep", pictures(4), classes=2)
    save_folder(deep / "class0" / "more", pictures(2))
    assert "more" in refused(deep)
    hollow = save_folder(tmp_path / "hollow", pictures(4), classes=2)
    (hollow / "class9").mkdir()
    assert "class9" in refused(hollow)
    assert data.load(str(save_folder(tmp_path / "odd", pictures(2, 10)))).shape[:2] == (10, 10)
    assert "2 images" in refused(save_folder(tmp_path / "one", pictures(1)))
    assert "text.txt" in refused_file(tmp_path / "text.txt")


def refused_file(path):
    path.write_text("hello")
    return refused(path)


# Arrays


@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
@pytest.mark.parametrize("channels", [1, 3])
def test_npy_and_npz_are_read_back(tmp_path, memory_limit, channels):
    images, labels = pictures(25, 8, channels), np.arange(25) % 4
    np.save(tmp_path / "x.npy", images.squeeze())
    np.savez(tmp_path / "x.npz", image=images, label=labels)
    np.savez(tmp_path / "only.npz", anything=images)
    for file in ("x.npy", "x.npz", "only.npz"):
        train, test = everything(tmp_path / file, memory_limit=memory_limit)
        assert (len(train), len(test)) == (23, 2)
        assert as_set(train, test) == as_set(images)
    source = data.load(str(tmp_path / "x.npz"))
    lookup = {image.tobytes(): label for image, label in zip(images, labels)}
    assert source.classes == 4
    assert [lookup[image.tobytes()] for image in source.image(np.arange(23))] == list(source.label(np.arange(23)))
    assert data.load(str(tmp_path / "x.npy"), image_size=4, memory_limit=memory_limit).image([0]).shape[1:3] == (4, 4)


FLOATS = GENERATOR.uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)
BAD_IMAGES = {
    "floats in [0, 1]": (FLOATS, r"\[0, 1\]"),
    "floats in [-1, 1]": (FLOATS * 2 - 1, r"\[-1, 1\]"),
    "floats in [0, 255]": (FLOATS * 255, r"\[0, 255\]"),
    "not finite": (np.where(FLOATS > 0.5, np.nan, FLOATS), "not finite"),
    "infinite": (np.where(FLOATS > 0.5, np.inf, FLOATS), "not finite"),
    "wide integers": (pictures(4).astype(np.int64), "int64"),
    "channels first": (pictures(4).transpose(0, 3, 1, 2), "transpose"),
    "four channels": (pictures(4, channels=4), "alpha"),
    "two channels": (pictures(4, channels=2), "1 or 3"),
    "flat": (pictures(4).reshape(4, -1), r"\[N, H, W, C\]"),
    "none": (pictures(4)[:0], "at least one"),
    "objects": (np.array([pictures(1)[0], None], object), "uint8|objects"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image_arrays(tmp_path, kind):
    array, message = BAD_IMAGES[kind]
    with pytest.raises(data.DataError, match=message):
        data.from_arrays(array)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", image=array, allow_pickle=True)
    for file in ("x.npy", "x.npz"):
        with pytest.raises(data.DataError, match=message) as info:
            data.load(str(tmp_path / file))
        assert file in str(info.value) and "\n" not in str(info.value)


BAD_LABELS = {
    "length": (np.arange(3), "4 images and 3 labels"),
    "floats": (np.arange(4.0), "integer"),
    "truth values": (np.ones(4, bool), "integer"),
    "negative": (np.array([0, 1, 2, -1]), "-1"),
    "huge": (np.array([0, 1, 2, 10**9]), "1000000000"),
    "one-hot": (np.eye(4, dtype=int), "class indices"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels(tmp_path, kind):
    label, message = BAD_LABELS[kind]
    with pytest.raises(data.DataError, match=message):
        data.from_arrays(pictures(4), label)
    np.savez(tmp_path / "x.npz", image=pictures(4), label=label)
    assert "x.npz" in refused(tmp_path / "x.npz")
    with pytest.raises(data.DataError, match="below the 3 classes"):
        data.from_arrays(pictures(4), np.arange(4), classes=3)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("kind", ["empty", "truncated", "text"])
def test_damaged_array_files(tmp_path, suffix, kind):
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, pictures(20))
    damage(path, kind)
    assert path.name in refused(path)


def test_npz_without_images(tmp_path):
    np.savez(tmp_path / "x.npz", label=np.arange(4))
    assert "'image'" in refused(tmp_path / "x.npz")


def test_fingerprint_sees_every_change(tmp_path):
    images, labels = pictures(30), np.arange(30) % 3
    prints = {data.from_arrays(images, labels).fingerprint, data.from_arrays(images).fingerprint}
    prints.add(data.from_arrays(images, labels[::-1]).fingerprint)
    changed = images.copy()
    changed[17, 3, 3, 0] ^= 1
    prints.add(data.from_arrays(changed, labels).fingerprint)
    prints.add(data.from_arrays(images[:-1], labels[:-1]).fingerprint)
    assert len(prints) == 5
    assert data.from_arrays(images.copy(), labels.astype(np.int64)).fingerprint in prints
    path = save_folder(tmp_path, images)
    first = data.load(str(path), memory_limit=0).fingerprint
    assert first == data.load(str(path), memory_limit=0).fingerprint
    Image.fromarray(changed[17]).save(path / "000.png")
    assert data.load(str(path), memory_limit=0).fingerprint != first


# Batches


def numbered(n):
    image = np.zeros((n, 4, 4, 1), np.uint8)
    return data.from_arrays(image, np.arange(n), name="numbered")


@pytest.mark.parametrize(("n", "size"), [(12, 4), (13, 4), (7, 5), (50, 16), (9, 1), (30, 29)])
def test_every_example_once_an_epoch(n, size):
    batches = data.Batches(numbered(n), size, seed=3)
    seen = np.concatenate([batches.batch(step)["label"] for step in range(-(-3 * n // size))])
    epochs = [seen[i * n : (i + 1) * n] for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(n))
    if n > 8:
        assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
        assert (data.Batches(numbered(n), size, seed=4).batch(0)["label"] != seen[:size]).any() or size == 1


@pytest.mark.parametrize(("n", "size"), [(12, 4), (13, 8), (21, 20)])
def test_processes_share_the_global_batch(n, size):
    whole = data.Batches(numbered(n), size, seed=0)
    parts = [data.Batches(numbered(n), size, 0, process_index=i, process_count=4) for i in range(4)]
    for step in range(7):
        joined = np.concatenate([part.batch(step)["label"] for part in parts])
        np.testing.assert_array_equal(joined, whole.batch(step)["label"])


def test_a_full_batch_keeps_the_order():
    batches = data.Batches(numbered(12), 12, seed=0)
    parts = [data.Batches(numbered(12), 12, 0, process_index=i, process_count=3) for i in range(3)]
    for step in (0, 5):
        np.testing.assert_array_equal(batches.batch(step)["label"], np.arange(12))
        np.testing.assert_array_equal(np.concatenate([p.batch(step)["label"] for p in parts]), np.arange(12))


def test_far_positions_cost_nothing():
    step = 10**9
    batches = data.Batches(numbered(10), 4, seed=0)
    np.testing.assert_array_equal(next(batches.iterate(step))["label"], batches.batch(step)["label"])


def test_lazy_batches_equal_those_in_memory(tmp_path):
    path = save_folder(tmp_path, pictures(22), classes=2)
    memory, lazy = data.load(str(path)), data.load(str(path), memory_limit=0)
    assert memory.in_memory and not lazy.in_memory
    for step, (a, b) in zip(range(6), zip(data.Batches(memory, 8, 1).iterate(2), data.Batches(lazy, 8, 1).iterate(2))):
        np.testing.assert_array_equal(a["image"], b["image"], err_msg=f"step {step}")
        np.testing.assert_array_equal(a["label"], b["label"])
    (path / "class0" / "000.png").write_bytes(b"")
    with pytest.raises(data.DataError, match=r"000\.png"):
        for _, _ in zip(range(10), data.Batches(lazy, 8, 1).iterate()):
            pass


def test_batches_that_are_refused():
    with pytest.raises(data.DataError, match="batch of 11 examples, got 10"):
        data.Batches(numbered(10), 11, 0)
    for arguments in (
        {"batch_size": 5, "process_count": 2},
        {"batch_size": 0},
        {"batch_size": 4, "seed": -1},
    ):
        with pytest.raises(ValueError, match="got"):
            data.Batches(numbered(10), **{"seed": 0, **arguments})
    with pytest.raises(ValueError, match=r"0\.\.1, got 2"):
        data.Batches(numbered(10), 4, 0, process_index=2, process_count=2)


# Floats and back


def test_both_ways_on_all_values():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    x = jax.jit(data.prepare)({"image": image})["image"]
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 1
    np.testing.assert_allclose(x, image / 127.5 - 1, atol=1e-6)
    for back in (data.to_uint8(x), data.to_uint8(np.asarray(x)), jax.jit(data.to_uint8)(x)):
        assert back.dtype == np.uint8
        np.testing.assert_array_equal(back, image)
    assert isinstance(data.to_uint8(np.asarray(x)), np.ndarray)
    np.testing.assert_array_equal(data.to_uint8(np.array([-5.0, 5.0, -1.001, 1.001])), [0, 255, 0, 255])


def test_flips_are_per_example_and_keyed():
    image, label = pictures(400), np.arange(400)
    prepare = jax.jit(data.prepare, static_argnames=("flip", "crop"))
    key = jax.random.key(0)
    batch = prepare({"image": image, "label": label}, key, flip=True)
    np.testing.assert_array_equal(batch["label"], label)
    out = data.to_uint8(np.asarray(batch["image"]))
    same = (out == image).all((1, 2, 3))
    mirrored = (out == image[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # binomial(400, 1/2): five standard deviations
    np.testing.assert_array_equal(batch["image"], prepare({"image": image}, key, flip=True)["image"])
    with pytest.raises(ValueError, match="key"):
        data.prepare({"image": image}, flip=True)


def test_crops_are_shifts_of_the_reflected_picture():
    image = pictures(300)
    out = data.to_uint8(np.asarray(data.prepare({"image": image}, jax.random.key(1), crop=1)["image"]))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    shifts = np.array([(out == padded[:, i : i + 8, j : j + 8]).all((1, 2, 3)) for i in range(3) for j in range(3)])
    assert (shifts.sum(0) == 1).all()
    assert (shifts.sum(1) > 10).all()  # each of the nine shifts is drawn 33 times in the mean


def test_permutations_are_those_of_philox():
    expected = np.random.Generator(np.random.Philox(key=np.array([5, 2], np.uint64))).permutation(10)
    np.testing.assert_array_equal(pipeline.permutation(5, 2, 10), expected)
