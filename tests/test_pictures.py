"""Pictures: what is where, that they fit, and that importing them touches nothing."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gen_jax import pictures
from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field


def generator(seed=0):
    return np.random.default_rng(seed)


def pixels(*shape):
    return generator().integers(0, 256, shape, dtype=np.uint8)


# What every kind is drawn from: field, samples, and what else is given.
CASES = {
    "grey images": (Field((8, 8, 1), PIXELS), pixels(9, 8, 8, 1), {}),
    "colour images": (Field((32, 32, 3), PIXELS), pixels(64, 32, 32, 3), {}),
    "videos": (Field((16, 32, 32, 3), PIXELS), pixels(5, 16, 32, 32, 3), {}),
    "long videos": (Field((100, 64, 64, 1), PIXELS), pixels(2, 100, 64, 64, 1), {}),
    "numbers": (Field((), REAL), generator().normal(size=50).astype("f4"), {}),
    "points": (Field((2,), REAL), generator().normal(size=(50, 2)).astype("f4"), {}),
    "features": (Field((300,), REAL), generator().normal(size=(50, 300)).astype("f4"), {}),
    "one point": (Field((5,), REAL), np.ones((1, 5), "f4"), {}),
    "curves": (Field((40, 3), REAL), generator().normal(size=(16, 40, 3)).astype("f4"), {"length": np.arange(16) + 9}),
    "one curve": (Field((40, 1), REAL), generator().normal(size=(1, 40, 1)).astype("f4"), {}),
    "many channels": (Field((20, 30), REAL), generator().normal(size=(6, 20, 30)).astype("f4"), {}),
    "symbols": (Field((30,), SYMBOL, 4), generator().integers(0, 4, (8, 30), "i4"), {"length": np.arange(8) * 3}),
    "letters": (Field((200,), SYMBOL, 27), generator().integers(0, 27, (8, 200), "i4"),
                {"words": " abcdefghijklmnopqrstuvwxyz"}),
    "bytes": (Field((1024,), SYMBOL, 256), generator().integers(0, 256, (4, 1024), "i4"), {}),
    "counts": (Field((40,), COUNT), generator().integers(0, 9, (5, 40), "i4"), {"words": ["longwords" * 5] * 40}),
    "pairs": (Field((6, 2), COUNT, 9), generator().integers(0, 9, (20, 6, 2), "i4"), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_kind_has_a_picture_of_modest_size(case):
    field, samples, options = CASES[case]
    found = pictures.picture(field, samples, **options)
    assert isinstance(found, Image.Image)
    assert 50 <= found.width <= 900 and 20 <= found.height <= 1100
    array = np.asarray(found.convert("L"))
    assert array.std() > 5  # something is drawn
    np.testing.assert_array_equal(array, np.asarray(pictures.picture(field, samples, **options).convert("L")))
    if field.kind is not PIXELS and field.kind is not SYMBOL:  # nothing is cut off: the border is white
        border = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
        assert (border == 255).mean() > 0.99


@pytest.mark.parametrize("case", CASES)
def test_samples_that_are_not_of_the_field_give_one_line(case):
    field, samples, _ = CASES[case]
    for wrong in (samples.astype(np.float64), samples[:0], samples[None]):
        with pytest.raises(ValueError, match="expected samples") as error:
            pictures.picture(field, wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: pictures.image_grid(np.zeros((2, 8, 8, 1))), "uint8 .N, H, W"),
        (lambda: pictures.image_grid(pixels(2, 8, 8, 4)), "uint8 .N, H, W"),
        (lambda: pictures.image_grid(pixels(0, 8, 8, 1)), "uint8 .N, H, W"),
        (lambda: pictures.film(pixels(2, 8, 8, 1)), "uint8 .N, T, H, W"),
        (lambda: pictures.film_strips(pixels(2, 8, 8, 1)), "uint8 .N, T, H, W"),
        (lambda: pictures.save_gif("x.gif", pixels(1, 2, 8, 8, 1), frames_per_second=0), "frames_per_second"),
        (lambda: pictures.scatter(np.full((3, 2), np.nan)), "finite points"),
        (lambda: pictures.scatter(np.zeros((3, 2)), np.zeros((3, 4))), "of one space"),
        (lambda: pictures.curves(np.zeros((3, 4))), "add an axis"),
        (lambda: pictures.curves(np.full((3, 4, 1), np.inf)), "finite curves"),
        (lambda: pictures.curves(np.zeros((3, 4, 1)), length=np.array([1, 2, 5])), "expected lengths"),
        (lambda: pictures.symbol_rows(np.zeros((3, 4))), "sequences of integers"),
        (lambda: pictures.symbol_rows(np.array([[0, 5]]), size=3), r"symbols of 0\.\.2"),
        (lambda: pictures.symbol_rows(np.array([[0, -1]]), size=3), r"symbols of 0\.\.2"),
        (lambda: pictures.symbol_rows(np.array([[0, 2]]), letters="ab"), "a letter for each of 3"),
        (lambda: pictures.word_bars(np.array([[-1.0, 2.0]])), "weights of words"),
        (lambda: pictures.word_bars(np.ones((2, 3)), words=["a"]), "a word for each of 3"),
        (lambda: pictures.picture(Field((2, 2, 2), REAL), np.zeros((1, 2, 2, 2), "f4")), "a field that is drawn"),
    ],
)
def test_mistakes_give_one_line(draw, message):
    with pytest.raises(ValueError, match=message) as error:
        draw()
    assert "\n" not in str(error.value)


# What is where


@pytest.mark.parametrize(("count", "columns", "across", "channels"), [(1, None, 1, 1), (7, None, 3, 3), (12, 6, 6, 1)])
def test_a_grid_has_every_image_in_its_place(count, columns, across, channels):
    images = pixels(count, 6, 5, channels)
    grid = np.asarray(pictures.image_grid(images, columns=columns, scale=2)).reshape(-1, across * 11 - 1, channels)
    for index, image in enumerate(images):
        top, left = index // across * 13, index % across * 11
        np.testing.assert_array_equal(grid[top : top + 12 : 2, left : left + 10 : 2], image)
        np.testing.assert_array_equal(grid[top + 1 : top + 12 : 2, left + 1 : left + 10 : 2], image)
    assert (grid[12::13] == 255).all() and (grid[:, 10::11] == 255).all()


def test_strips_have_a_row_for_each_clip_and_frames_in_order():
    clips = pixels(3, 4, 16, 16, 1)
    strip = np.asarray(pictures.film_strips(clips))
    side = 64
    for row, clip in enumerate(clips):
        for t, frame in enumerate(clip):
            tile = strip[row * (side + 5) :, t * (side + 1) :][:side:4, :side:4]
            np.testing.assert_array_equal(tile, frame[..., 0])
    long = np.zeros((1, 200, 32, 32, 1), np.uint8) + np.arange(200, dtype=np.uint8)[:, None, None, None]
    shown = np.asarray(pictures.film_strips(long))[0, ::33]
    assert shown[0] == 0 and shown[-1] == 199 and (np.diff(shown.astype(int)) > 0).all()


def test_a_film_moves(tmp_path):
    clips = np.zeros((4, 5, 8, 8, 1), np.uint8) + np.arange(0, 250, 50, dtype=np.uint8)[:, None, None, None]
    frames = pictures.film(clips)
    assert len(frames) == 5 and len({frame.size for frame in frames}) == 1
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(np.asarray(frame), np.asarray(pictures.image_grid(clips[:, t])))
    pictures.save_gif(tmp_path / "x.gif", clips, frames_per_second=20)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 5 and gif.info["duration"] == 50 and gif.info["loop"] == 0
        for t in range(5):
            gif.seek(t)
            assert gif.convert("L").getpixel((3, 3)) == 50 * t


def test_symbols_are_cells_of_their_colours():
    x = generator().integers(0, 30, (5, 20))
    length = np.array([20, 3, 0, 10, 20])
    rows = np.asarray(pictures.symbol_rows(x, size=30, length=length))
    cell, step = 20, 25
    for i, sequence in enumerate(x):
        for t, symbol in enumerate(sequence):
            found = "#{:02x}{:02x}{:02x}".format(*rows[i * step + 9, t * cell + 9])
            assert found == (pictures.colour(int(symbol)) if t < length[i] else "#ffffff")


def test_letters_are_written_where_there_are_few():
    x = np.array([[0, 1, 2, 1]])
    plain, written = (np.asarray(pictures.symbol_rows(x, letters=letters)) for letters in (None, "ab "))
    dark = (written.max(-1) < 100).reshape(written.shape[0], 4, -1).any((0, 2))
    assert dark.tolist() == [True, True, False, True] and plain.shape == written.shape
    many = generator().integers(0, 40, (2, 50))
    bare, large = (np.asarray(pictures.symbol_rows(many, size=40, letters=s)) for s in (None, "x" * 40))
    np.testing.assert_array_equal(bare, large)


def cielab(rgb):
    """CIE 1976 L*a*b* of sRGB ``[N, 3]`` in [0, 1] under D65."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = linear @ np.array(to_xyz).T / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def test_colours_differ():
    codes = [pictures.colour(i) for i in range(256)]
    assert len(set(codes)) == 256
    lab = cielab(np.array([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in codes]))
    apart = np.linalg.norm(lab[:27, None] - lab[:27], axis=-1) + 1e3 * np.eye(27)
    assert apart.min() > 20  # 2.3 is just noticeable
    assert np.linalg.norm(lab - [100, 0, 0], axis=1).min() > 10  # none is white


def test_points_lie_where_they_should_with_equal_axes():
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
    array = np.asarray(pictures.scatter(corners)).astype(int)
    blue = (array[..., 2] - array[..., 0] > 60) & (array[..., 2] > 120)
    rows, columns = np.nonzero(blue)
    high, wide = rows.max() - rows.min(), columns.max() - columns.min()
    assert abs(high - wide) <= 3 and wide > 300
    reference = np.asarray(pictures.scatter(corners, generator().normal(size=(300, 2))))
    assert (reference == [185, 190, 199]).all(-1).sum() > 300  # grey


def test_components_are_those_of_the_reference(monkeypatch):
    """Of points that differ in one hidden plane, all the variance is shown."""
    titles = []
    monkeypatch.setattr(pictures.Axes, "set_title", lambda self, text, **options: titles.append(text))
    plane = generator().normal(size=(200, 2)) @ generator(1).normal(size=(2, 9))
    pictures.scatter(plane, plane)
    pictures.scatter(plane[:, :2])
    pictures.scatter(generator().normal(size=(4000, 9)), generator(1).normal(size=(4000, 9)))
    assert titles[0] == "first two principal components of 9 dimensions, 100% of the variance"
    assert len(titles) == 2 and "2" in titles[1] and 0.2 < int(titles[1].split(", ")[1][:2]) / 100 < 0.3


def test_bars_are_of_the_commonest_words_in_order(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures.Axes, "set_yticks", lambda self, places, labels, **options: drawn.append(labels))
    weights = np.array([[0, 5, 1, 3], [2, 0, 0, 0]])
    pictures.word_bars(weights, words=["a", "b", "c", "internationalisation"])
    assert drawn == [["b", "internationalis…", "c", ""], ["a", "", "", ""]]
    drawn.clear()
    pictures.word_bars(np.arange(1, 31)[None])
    assert drawn == [[str(i) for i in range(29, 19, -1)]]


def test_pairs_become_bags():
    field = Field((3, 2), COUNT, 4)
    pairs = np.array([[[1, 2], [3, 1], [1, 1]], [[0, 5], [2, 7], [2, 0]]], np.int32)
    expected = [[0, 3, 0, 1], [5, 0, 7, 0]]
    np.testing.assert_array_equal(pictures.bags_of_words(field, pairs), expected)
    cut = pictures.bags_of_words(field, pairs, length=np.array([2, 1]))
    np.testing.assert_array_equal(cut, [[0, 2, 0, 1], [5, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"words of 0\.\.3, got 0\.\.9"):
        pictures.bags_of_words(field, np.array([[[0, 1], [9, 1]]], np.int32))


def test_importing_and_drawing_leave_matplotlib_as_it_is():
    program = (
        "import matplotlib, sys\n"
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "import numpy as np\n"
        "from gen_jax import pictures\n"
        "pictures.scatter(np.zeros((3, 2)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert settings() == before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
