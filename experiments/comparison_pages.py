"""The pages of a comparison: one picture, and one self-contained HTML file with every number and its protocol."""

import base64
import html
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gen_jax.pictures import image_grid
from gen_jax.train.files import write_atomically

Report = Mapping[str, Any]
INK, GRID = "#1f2933", "#d9dee3"
_LOSSES = ("loss", "r1", "likelihood")  # how the names of turns end whose figures are drawn


def write_picture(path: Path, report: Report, images: Mapping[str, np.ndarray]) -> None:
    """Quality, coverage and speed in one plot, beside samples of every model."""
    figure = plt.figure(figsize=(14, 7), layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1, 1.05))
    left, right = halves
    protocol = report["protocol"]
    title = f"{protocol['data']}: {protocol['seconds_per_model']:g} s of training a model on {protocol['devices']}"
    figure.suptitle(title, color=INK, fontsize=14)
    _scatter(left.subplots(), report)
    axes = right.subplots(len(images), 1)
    for axis, (name, pictures) in zip(np.atleast_1d(axes), images.items()):
        axis.imshow(image_grid(pictures[:28], columns=14, scale=2), cmap="gray", interpolation="nearest")
        axis.set_ylabel(name.replace("held-out real images", "real"), rotation=0, ha="right", va="center", color=INK)
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_html(path: Path, report: Report, images: Mapping[str, np.ndarray]) -> None:
    """Picture, table, samples, training curves and protocol in one file that needs no other."""
    protocol = report["protocol"]
    picture = _png(_drawn(report))
    grids = "".join(
        f"<figure><figcaption>{html.escape(name)}</figcaption>"
        f'<img alt="samples of {html.escape(name)}" src="{_png_of(image_grid(pictures[:64], columns=8, scale=2))}">'
        "</figure>"
        for name, pictures in images.items()
    )
    title = f"{html.escape(report['title'])} on {html.escape(str(protocol['data']))}"
    body = f"""<h1>{title}</h1>
<p>Every model was trained for {protocol["seconds_per_model"]:g} seconds on {html.escape(protocol["devices"])}, from
{len(protocol["seeds"])} seed{"s" if len(protocol["seeds"]) > 1 else ""}, compilation counted apart. Quality and
coverage are measured in the features of the network <code>{html.escape(protocol["feature_network"])}</code>
(<code>{protocol["feature_hash"]}</code>), against {protocol["reference_size"]:,} images of the
{protocol["reference_split"]} split; every row has {protocol["generated_size"]:,} images. The row of held-out real
images is what a perfect model would score. {protocol["metric"]} is a Frechet distance in these features and cannot be
compared with a published FID.</p>
<img class="wide" alt="quality against sampling time, coloured by coverage" src="{picture}">
<h2>Figures</h2>
<div class="scroll">{_table(report)}</div>
<p class="note">Bold: best of the models. Bits/dim are of {protocol["likelihood_images"]} held-out images; the column
says whether a figure is a bound. Models without a likelihood have none.</p>
<h2>Samples</h2>
<div class="grids">{grids}</div>
<h2>Training</h2>
<img class="wide" alt="training curves" src="{_png(_curves(report))}">
<h2>Protocol</h2>
<div class="scroll">{_definitions(protocol)}</div>
<h2>Settings of every run</h2>
{_settings(report)}"""
    write_atomically(path, _PAGE.format(title=title, body=body))


def _scatter(axis: Axes, report: Report) -> None:
    models = [row for row in report["rows"] if row["sampling_seconds_per_1000"] is not None]
    real = next(row for row in report["rows"] if row["family"] == "reference")
    floor, complete = real["frechet_distance"], real["coverage"]
    x = [row["sampling_seconds_per_1000"] for row in models]
    y = [max(row["frechet_distance"], 1e-3) for row in models]
    colours = [row["coverage"] for row in models]
    points = axis.scatter(x, y, c=colours, cmap="viridis", vmin=0, vmax=complete, s=260, zorder=3)
    for row, across, up in zip(models, x, y):
        crowded = any(1 < across / a < 4 and 0.7 < up / b < 1.4 for a, b in zip(x, y))
        offset = (11, -19) if crowded else (11, 9)
        axis.annotate(row["model"], (across, up), xytext=offset, textcoords="offset points", color=INK, fontsize=12)
    axis.axhline(max(floor, 1e-3), color=INK, linewidth=1, linestyle="--")
    axis.text(0.99, max(floor, 1e-3), " real images", transform=axis.get_yaxis_transform(), ha="right", va="bottom")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(0.18)
    axis.set_xlabel("seconds to sample 1,000 images (left is fast)")
    axis.set_ylabel(f"{report['protocol']['metric']} (down is good)")
    axis.grid(color=GRID, linewidth=0.6)
    axis.figure.colorbar(points, ax=axis, label="coverage (yellow: that of real images)", shrink=0.8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _drawn(report: Report) -> Figure:
    figure, axis = plt.subplots(figsize=(8.5, 5.2), layout="constrained")
    _scatter(axis, report)
    return figure


def _curves(report: Report) -> Figure:
    curves = report["curves"]
    columns = min(3, len(curves))
    figure, axes = plt.subplots(
        math.ceil(len(curves) / columns), columns, figsize=(11, 3 * math.ceil(len(curves) / columns)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, (name, rows) in zip(axes.flat, curves.items()):
        figures = dict.fromkeys(key for row in rows for key in row if _is_loss(key))
        offset, before, seconds = 0.0, 0.0, []
        for row in rows:  # a second stage starts its clock again
            offset += before if row["seconds"] < before else 0.0
            before = row["seconds"]
            seconds.append(offset + before)
        for key in figures:
            points = [(at, row[key]) for at, row in zip(seconds, rows) if key in row]
            axis.plot(*zip(*points), label=key, linewidth=1)
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("seconds")
        axis.grid(color=GRID, linewidth=0.6)
        axis.legend(fontsize=7, frameon=False)
    return figure


def _is_loss(key: str) -> bool:
    player, _, figure = key.partition("/")
    return bool(player and figure) and figure.endswith(_LOSSES)


def _table(report: Report) -> str:
    metric = report["protocol"]["metric"]
    rivals = [row for row in report["rows"] if row["family"] != "reference"]
    best = {}
    for key, _, _, more in report["columns"]:
        values = [row[key] for row in rivals if row[key] is not None]
        if values and more is not None:
            best[key] = max(values) if more else min(values)
    head = "".join(f"<th>{heading or metric}</th>" for _, heading, _, _ in report["columns"])
    lines = []
    for row in report["rows"]:
        cells = [f"<th>{html.escape(row['model'])}<br><small>{html.escape(row['family'])}</small></th>"]
        for key, _, form, _ in report["columns"]:
            cells.append(f"<td>{_cell(row, key, form, row in rivals and row[key] == best.get(key, math.nan))}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th>model</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(row: Mapping[str, Any], key: str, form: str, best: bool) -> str:
    if row[key] is None:
        return "&ndash;"
    text = format(round(row[key]) if form.endswith("d") else row[key], form)
    text = f"<b>{text}</b>" if best else text
    spread = row["spread"].get(key)
    if spread is not None:
        text += f"<br><small>&plusmn; {format(spread, '.2g')}</small>"
    if key == "bits_per_dim":
        text += f"<br><small>{html.escape(str(row['likelihood']))}</small>"
    return text


def _definitions(values: Mapping[str, Any]) -> str:
    lines = (f"<tr><th>{html.escape(k)}</th><td>{html.escape(_plain(v))}</td></tr>" for k, v in values.items())
    return f'<table class="plain">{"".join(lines)}</table>'


def _settings(report: Report) -> str:
    parts = []
    for name, settings in report["settings"].items():
        flat = {
            f"{section}.{key}": value for section in ("model", "training") for key, value in settings[section].items()
        }
        flat |= {f"optimizer.{player}": value for player, value in settings["optimizers"].items()}
        parts.append(f"<details><summary>{html.escape(name)}</summary>{_definitions(flat)}</details>")
    return "".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _png_of(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 1100px;
  margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; }}
table {{ border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #d9dee3; vertical-align: top; }}
th:first-child {{ text-align: left; white-space: nowrap; }}
thead th {{ vertical-align: bottom; }} .plain td {{ text-align: left; overflow-wrap: anywhere; }}
small {{ color: #52606d; font-weight: normal; }} .note {{ font-size: 14px; color: #52606d; }}
.scroll {{ overflow-x: auto; }} .wide {{ width: 100%; height: auto; }}
.grids {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }} figure img {{ width: 100%; image-rendering: pixelated; }}
figcaption {{ font-weight: 600; margin-bottom: .25rem; }} details {{ margin: .5rem 0; }}
</style></head><body>
{body}
</body></html>
"""
