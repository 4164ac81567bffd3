"""Pictures of samples, one for every kind of field.

    images    [H, W, C]      a grid
    videos    [T, H, W, C]   film strips, a row a clip; or moving, as a GIF
    reals     [D]            a scatter of points; a histogram of one dimension, two principal components of many
              [T, D]         curves, a panel an example and a colour a channel
    symbols   [T]            coloured rows, with letters where the alphabet has few
    words     [V], [P, 2]    bars of the commonest words, a panel a document or topic

All are at most about 900 pixels wide. Nothing here touches the state that matplotlib shares.
"""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from gen_jax.fields import COUNT, PIXELS, REAL, SYMBOL, Field

WIDTH = 900  # pixels
CLIPS, PANELS, ROWS, TOPICS = 16, 16, 32, 12  # of film strips, curves, rows of symbols and bars: at most so many
COMMONEST = 10  # words of a topic
LETTERS = 27  # the largest alphabet whose letters are written into the rows

_DPI = 100
_INK, _FAINT, _GREY, _BLANK = "#222222", "#8a8f98", "#b9bec7", "#f0f1f4"
_FIRST = ("#2f6fb7", "#e8912d", "#3a9d72", "#c94f6d", "#8464b4", "#63b7d6", "#b5a642", "#7d5a44")


def picture(
    field: Field,
    samples: np.ndarray,
    *,
    length: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    words: Sequence[str] | None = None,
) -> Image.Image:
    """A picture of samples of any field.

    Args:
      field: what they are.
      samples: ``[N, *field.shape]`` in the field's stored type.
      length: integers ``[N]``, how much of each sample's first axis is real.
      reference: data to draw behind points, ``[M, *field.shape]``.
      words: of the vocabulary, or the letters of the alphabet.

    Raises:
      ValueError: if they are no samples of the field, or nothing draws it.
    """
    rank, stored = len(field.shape), np.dtype(field.kind.stored)
    if samples.dtype != stored or samples.ndim != rank + 1 or not len(samples):
        expected = ", ".join(map(str, ("N", *field.shape)))
        raise ValueError(f"expected samples {stored} [{expected}], got {samples.dtype} {samples.shape}")
    if field.kind is PIXELS and rank == 3:
        return image_grid(samples)
    if field.kind is PIXELS and rank == 4:
        return film_strips(samples)
    if field.kind is REAL and rank < 2:
        return scatter(_points(samples), None if reference is None else _points(reference))
    if field.kind is REAL and rank == 2:
        return curves(samples, length=length)
    if field.kind is SYMBOL and rank == 1:
        return symbol_rows(samples, size=field.size, length=length, letters=words)
    if field.kind is COUNT:
        return word_bars(bags_of_words(field, samples, length=length), words=words)
    raise ValueError(f"expected a field that is drawn, got {field.kind.name} {list(field.shape)}; draw a part of it")


# Images and videos


def image_grid(images: np.ndarray, *, columns: int | None = None, scale: int | None = None) -> Image.Image:
    """Images ``uint8 [N, H, W, C]`` as one picture, row by row, with a pixel of white between them.

    Args:
      images: one or three channels.
      columns: images a row; by default the grid is about square.
      scale: side in pixels of one pixel of an image; by default small images are enlarged to about 64 pixels.

    Raises:
      ValueError: if they are no such images.
    """
    _check_pixels(images, "[N, H, W, 1 or 3]")
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    scale = scale or max(1, round(64 / height))
    rows = math.ceil(count / columns)
    tiles = images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 255, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * (height + 1), column * (width + 1)
        canvas[top : top + height, left : left + width] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def film_strips(videos: np.ndarray) -> Image.Image:
    """The first 16 of clips ``uint8 [N, T, H, W, C]``, a row each; of long ones as many frames as fit, evenly spread.

    Raises:
      ValueError: if they are no such clips.
    """
    _check_pixels(videos, "[N, T, H, W, 1 or 3]")
    frames, height, width = videos.shape[1:4]
    shown = min(frames, max(1, WIDTH // (max(width, min(48, WIDTH)) + 1)))
    scale = max(1, min(round(64 / height), WIDTH // (shown * (width + 1))))
    times = np.linspace(0, frames - 1, shown).round().astype(int)
    strips = [np.asarray(image_grid(clip[times], columns=shown, scale=scale)) for clip in videos[:CLIPS]]
    gap = np.full((5, *strips[0].shape[1:]), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for strip in strips for part in (strip, gap)][:-1]))


def film(videos: np.ndarray, *, columns: int | None = None, scale: int | None = None) -> list[Image.Image]:
    """One :func:`image_grid` for each time of clips ``uint8 [N, T, H, W, C]``.

    Raises:
      ValueError: if they are no such clips.
    """
    _check_pixels(videos, "[N, T, H, W, 1 or 3]")
    return [image_grid(frames, columns=columns, scale=scale) for frames in videos.swapaxes(0, 1)]


def save_gif(path: str | Path, videos: np.ndarray, *, frames_per_second: float = 10.0) -> None:
    """Writes :func:`film` as a GIF that repeats itself.

    Raises:
      ValueError: if they are no clips ``uint8 [N, T, H, W, C]``, or the speed is none.
    """
    if not 0 < frames_per_second <= 50:  # a GIF counts hundredths of a second, and readers take 1 for 10
        raise ValueError(f"expected 0 < frames_per_second <= 50, got {frames_per_second}")
    first, *rest = film(videos)
    duration = round(1000 / frames_per_second)
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)


# Real numbers


def scatter(points: np.ndarray, reference: np.ndarray | None = None) -> Image.Image:
    """Points ``[N, D]``, with others ``[M, D]`` in grey behind them.

    One dimension becomes a histogram; of three or more the first two principal components are shown, of the reference
    where there is one.

    Raises:
      ValueError: if they are no finite points, or not of one space.
    """
    others = points[:0] if reference is None else reference
    for given in (points, others):
        if given.ndim != 2 or given.shape[1:] != points.shape[1:] or not points.size:
            raise ValueError(f"expected points [N, D] of one space, got {points.shape} and {others.shape}")
        if not np.isfinite(given).all():
            raise ValueError("expected finite points, got NaN or infinity; look at the sampler")
    if points.shape[1] == 1:
        return _histogram(points[:, 0], others[:, 0])
    title = ""
    if points.shape[1] > 2:
        base = others if len(others) > 1 else points
        mean, (_, singular, axes) = base.mean(0), np.linalg.svd(base - base.mean(0), full_matrices=False)
        share = float((singular[:2] ** 2).sum() / max((singular**2).sum(), np.finfo(np.float64).tiny))
        title = f"first two principal components of {points.shape[1]:,} dimensions, {share:.0%} of the variance"
        points, others = (points - mean) @ axes[:2].T, (others - mean) @ axes[:2].T
        points, others = (np.pad(x, [(0, 0), (0, 2 - x.shape[1])]) for x in (points, others))
    figure, axis = _one_axis(6.4, 6.4 if not title else 6.7)
    if len(others):
        axis.scatter(others[:, 0], others[:, 1], s=_dot(len(others)), color=_GREY, linewidths=0, label="data")
    axis.scatter(
        points[:, 0], points[:, 1], s=_dot(len(points)), color=_FIRST[0], alpha=0.6, linewidths=0, label="samples"
    )
    axis.set_aspect("equal", adjustable="datalim")
    if title:
        axis.set_title(title, fontsize=10, color=_INK)
    if len(others):
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10, markerscale=2.5)
    return _drawn(figure)


def _histogram(values: np.ndarray, others: np.ndarray) -> Image.Image:
    figure, axis = _one_axis(6.4, 4.0)
    bins = min(80, max(10, round(len(values) ** 0.5)))
    edges = np.histogram_bin_edges(np.concatenate([values, others]), bins=bins).tolist()
    if len(others):
        axis.hist(others, edges, density=True, color=_GREY, label="data")
    axis.hist(values, edges, density=True, color=_FIRST[0], alpha=0.65, label="samples")
    axis.set_ylabel("density", fontsize=10, color=_INK)
    if len(others):
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
    return _drawn(figure)


def curves(values: np.ndarray, *, length: np.ndarray | None = None) -> Image.Image:
    """The first 16 of ``[N, T, D]`` over time, a panel each on common axes, and a colour for each channel.

    Raises:
      ValueError: if they are no finite numbers of that shape.
    """
    if values.ndim != 3 or not values.size:
        raise ValueError(f"expected curves [N, T, D], got {values.shape}; add an axis for one channel")
    lengths = _lengths(length, values)
    if not all(np.isfinite(x[:n]).all() for x, n in zip(values, lengths)):
        raise ValueError("expected finite curves, got NaN or infinity; look at the sampler")
    count = min(len(values), PANELS)
    columns = min(4, count)
    rows, marker = math.ceil(count / columns), "." if values.shape[1] == 1 else None
    figure = _figure(9.0 if columns > 1 else 6.4, max(2.4, 1.7 * rows))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, x, n in zip(axes, values, lengths):
        _plain(axis)
        for channel in range(x.shape[1]):
            axis.plot(x[:n, channel], color=colour(channel), linewidth=1.2, marker=marker)
    _blank(axes, count, columns)
    if 1 < values.shape[2] <= len(_FIRST):
        figure.legend(
            axes[0].lines, [f"channel {i}" for i in range(values.shape[2])], loc="outside lower center",
            ncols=values.shape[2], frameon=False, fontsize=9,
        )  # fmt: skip
    return _drawn(figure)


# Symbols and words


def symbol_rows(
    symbols: np.ndarray, *, size: int = 0, length: np.ndarray | None = None, letters: Sequence[str] | None = None
) -> Image.Image:
    """The first 32 of sequences ``[N, T]`` as rows of cells, a colour for each symbol; long ones are broken into lines.

    Args:
      symbols: integers; every symbol has the same colour in every picture.
      size: of the alphabet.
      length: ``[N]``, how much of each is real.
      letters: of the alphabet; written into the cells if there are at most 27.

    Raises:
      ValueError: if they are no such sequences.
    """
    if symbols.ndim != 2 or not symbols.size or not np.issubdtype(symbols.dtype, np.integer):
        raise ValueError(f"expected sequences of integers [N, T], got {symbols.dtype} {symbols.shape}")
    lengths = _lengths(length, symbols)
    sequences = [row[:n] for row, n in zip(symbols[:ROWS], lengths)]
    largest = max((int(row.max()) for row in sequences if len(row)), default=0)
    size = size or largest + 1
    if largest >= size or min((int(row.min()) for row in sequences if len(row)), default=0) < 0:
        raise ValueError(f"expected symbols of 0..{size - 1}, got up to {largest}; give the alphabet its size")
    if letters is not None and len(letters) < size:
        raise ValueError(f"expected a letter for each of {size} symbols, got {len(letters)}")
    written = letters is not None and size <= LETTERS
    across = math.ceil(symbols.shape[1] / math.ceil(symbols.shape[1] * (14 if written else 4) / WIDTH))
    cell = min(20, WIDTH // across)
    height = cell if written else max(cell, 12)
    lines = [max(1, math.ceil(len(row) / across)) for row in sequences]
    gap = max(2, height // 4) if max(lines) == 1 else height // 2
    canvas = Image.new("RGB", (across * cell, sum(lines) * height + (len(lines) - 1) * gap), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(round(0.72 * cell))
    inset = 1 if cell >= 8 else 0
    top = 0
    for row, down in zip(sequences, lines):
        for index, symbol in enumerate(row):
            x, y = index % across * cell, top + index // across * height
            letter = letters[symbol] if written and letters is not None else ""
            shade = colour(int(symbol)) if not letter else _paler(colour(int(symbol))) if letter.strip() else _BLANK
            draw.rectangle((x, y, x + cell - 1 - inset, y + height - 1 - inset), fill=shade)
            if letter:
                middle = (x + (cell - inset) / 2, y + (height - inset) / 2)
                draw.text(middle, letter, fill=_INK, font=font, anchor="mm")
        top += down * height + gap
    return canvas


def word_bars(weights: np.ndarray, *, words: Sequence[str] | None = None) -> Image.Image:
    """Bars of the 10 commonest words of the first 12 of documents or topics, a panel each.

    Args:
      weights: counts or probabilities ``[N, V]``, of which shares are shown.
      words: of the vocabulary; numbers stand for them, if not given.

    Raises:
      ValueError: if there are no such weights, or not a word for each.
    """
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(f"expected weights of words [N, V], finite and 0 or more, got {weights.dtype} {weights.shape}")
    if words is not None and len(words) != weights.shape[1]:
        raise ValueError(f"expected a word for each of {weights.shape[1]}, got {len(words)}")
    names = [str(i) for i in range(weights.shape[1])] if words is None else words
    shares = weights[:TOPICS] / np.maximum(weights[:TOPICS].sum(1, keepdims=True), np.finfo(np.float64).tiny)
    top = min(COMMONEST, weights.shape[1])
    columns = min(3, len(shares))
    rows = math.ceil(len(shares) / columns)
    figure = _figure(3.0 * columns if columns > 1 else 4.5, rows * (0.55 + 0.19 * top))
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for index, (axis, share) in enumerate(zip(axes, shares)):
        _plain(axis)
        order = np.argsort(-share, kind="stable")[:top]
        axis.barh(np.arange(top), share[order], color=_FIRST[index % len(_FIRST)], height=0.75)
        found = [_short(names[i]) if share[i] > 0 else "" for i in order]
        axis.set_yticks(np.arange(top), found, fontsize=9, color=_INK)
        axis.set_ylim(top - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        axis.locator_params(axis="x", nbins=4)
        axis.set_title(str(index), fontsize=9, color=_FAINT, loc="left", pad=3)
    _blank(axes, len(shares), columns)
    figure.supxlabel("share of the words", fontsize=9, color=_INK)
    return _drawn(figure)


def bags_of_words(field: Field, samples: np.ndarray, *, length: np.ndarray | None = None) -> np.ndarray:
    """Counts ``[N, V]`` of documents that are counts ``[N, V]``, or pairs ``[N, P, 2]`` of a word and its count."""
    if samples.ndim == 2:
        return samples
    if samples.ndim != 3 or samples.shape[2] != 2 or field.size < 1:
        raise ValueError(f"expected counts [N, V], or [N, P, 2] with a vocabulary's size, got {samples.shape}")
    bags = np.zeros((len(samples), field.size), np.int64)
    for bag, document, n in zip(bags, samples, _lengths(length, samples)):
        real = document[:n][document[:n, 1] > 0]
        if real.size and not 0 <= real[:, 0].min() <= real[:, 0].max() < field.size:
            raise ValueError(f"expected words of 0..{field.size - 1}, got {real[:, 0].min()}..{real[:, 0].max()}")
        np.add.at(bag, real[:, 0], real[:, 1])
    return bags


def colour(index: int) -> str:
    """The colour ``#rrggbb`` of a symbol or a channel; all are different, and always the same."""
    if index < len(_FIRST):
        return _FIRST[index]
    hue = (index * 0.618034 + 0.877) % 1.0  # steps of the golden section; the other numbers keep the first 27 apart
    red, green, blue = colorsys.hls_to_rgb(hue, (0.54, 0.76, 0.28)[index % 3], (0.87, 0.72)[index % 2])
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _paler(code: str) -> str:
    parts = (int(code[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(0.45 * part + 0.55 * 255):02x}" for part in parts)


def _short(word: str, most: int = 16) -> str:
    return word if len(word) <= most else word[: most - 1] + "…"


def _points(samples: np.ndarray) -> np.ndarray:
    return samples.reshape(len(samples), -1)


def _lengths(length: np.ndarray | None, samples: np.ndarray) -> np.ndarray:
    if length is None:
        return np.full(len(samples), samples.shape[1])
    if length.shape != (len(samples),) or length.min() < 0 or length.max() > samples.shape[1]:
        raise ValueError(f"expected lengths [{len(samples)}] of 0..{samples.shape[1]}, got {length.shape}")
    return length


def _check_pixels(x: np.ndarray, expected: str) -> None:
    if x.dtype != np.uint8 or x.ndim != expected.count(",") + 1 or x.shape[-1] not in (1, 3) or not x.size:
        raise ValueError(f"expected uint8 {expected}, got {x.dtype} {x.shape}; use gen_jax.data.to_uint8 on floats")


def _dot(count: int) -> float:
    return float(np.clip(10_000 / count, 3, 16))  # square points


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def _one_axis(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _figure(width, height)
    axis = figure.subplots()
    _plain(axis)
    return figure, axis


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_GREY)
    axis.tick_params(labelsize=9, color=_GREY, labelcolor=_INK)


def _blank(axes: np.ndarray, count: int, columns: int) -> None:
    """Leaves only ``count`` panels, of which the lowest of each column say their scale."""
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)


def _drawn(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
