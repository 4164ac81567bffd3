"""From what was measured to a report: one row a model, beside held-out real images, with its protocol.

A figure of several seeds is their mean, with their standard deviation as its spread; a training that diverged has
none, and counts as failed, as does one whose log warns at its end.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from gen_jax import data, evaluate, ruler
from gen_jax.evaluate.card import to_dict

if TYPE_CHECKING:
    from experiments.comparison import Comparison, Contestant, Settings


class Column(NamedTuple):
    """A column of the report: the figure's name, its heading, its format, and whether more is better, if either is."""

    key: str
    heading: str
    form: str
    more: bool | None


COLUMNS = (
    Column("frechet_distance", "", ".2f", False),
    Column("precision", "precision", ".3f", True),
    Column("recall", "recall", ".3f", True),
    Column("density", "density", ".3f", True),
    Column("coverage", "coverage", ".3f", True),
    Column("score", "score", ".2f", True),
    Column("bits_per_dim", "bits/dim", ".3f", False),
    Column("sampling_seconds_per_1000", "sampling, s per 1,000", ".3g", False),
    Column("network_evaluations", "network evaluations", "d", False),
    Column("parameters", "parameters", ",d", None),
    Column("steps", "steps", ",d", None),
    Column("images_seen", "images seen", ",.0f", None),
    Column("train_seconds", "training, s", ".1f", None),
    Column("compile_seconds", "compiling, s", ".1f", None),
    Column("failed", "share of failures", ".2f", False),
)
METRICS = ("frechet_distance", "precision", "recall", "density", "coverage", "score")
FIXED = ("parameters", "network_evaluations", "likelihood", "sampler")
MEASURED = tuple(column.key for column in COLUMNS if column.key not in FIXED)
HELD_OUT = "held-out real images"


class Bench(NamedTuple):
    """What all models are trained on and measured against."""

    train: data.Source
    test: data.Source
    reference: evaluate.Statistics
    held_out: np.ndarray
    network: evaluate.FeatureNetwork


def report_of(
    comparison: "Comparison",
    contestants: Sequence["Contestant"],
    results: Mapping[str, list[dict[str, Any]]],
    settings: "Settings",
    bench: Bench,
) -> dict[str, Any]:
    """The report: a row for each contestant, means and spreads over its seeds; the protocol, cards and curves."""
    measured = (*MEASURED, *(column.key for column in comparison.columns))
    held_out_row, held_out_cards = _held_out(bench, measured)
    rows = [held_out_row]
    done = {name: [each for each in attempts if "settings" in each] for name, attempts in results.items()}
    for contestant in contestants:
        attempts = results[contestant.name]
        found = {key: [each[key] for each in attempts if each.get(key) is not None] for key in measured}
        mean = {key: float(np.mean(value)) if value else None for key, value in found.items()}
        spread = {key: float(np.std(value)) if len(value) > 1 else None for key, value in found.items()}
        first = (done[contestant.name] or [{}])[0]
        fixed = {key: first.get(key) for key in FIXED}
        rows.append({"model": contestant.name, "family": contestant.family, **fixed, **mean, "spread": spread})
    shown = held_out_cards + [card for attempts in done.values() if attempts for card in _mean_cards(attempts)]
    return {
        "name": comparison.name,
        "title": comparison.title,
        "columns": [list(column) for column in (*COLUMNS, *comparison.columns)],
        "rows": rows,
        "protocol": {
            "data": bench.train.name,
            "image_shape": bench.train.shape,
            "train_size": bench.train.size,
            "seconds_per_model": settings.seconds_per_model,
            "seeds": list(range(settings.seeds)),
            "metric": evaluate.metric_name("frechet_distance", bench.network.name),
            "feature_network": bench.network.name,
            "feature_hash": bench.network.hash,
            "reference_split": bench.train.split,
            "reference_size": bench.reference.n,
            "reference_fingerprint": bench.reference.fingerprint,
            "generated_size": len(bench.held_out),
            "held_out_split": bench.test.split,
            "likelihood_images": min(settings.likelihood_images, bench.test.size),
            "metric_settings": asdict(ruler.SETTINGS),
            "weights": "EMA",
            "quantisation": "8 bits",
            "resize": f"to {settings.image_size}" if settings.image_size else "none",
            "sampling_batch": settings.sampling_batch,
            "devices": ruler.devices(),
            "versions": evaluate.versions(),
            "command": " ".join([f"python -m experiments.{comparison.name}", *sys.argv[1:]]),
        },
        "cards": list(map(to_dict, shown)),
        "curves": {name: attempts[0]["curve"] for name, attempts in done.items() if attempts},
        "settings": {name: attempts[0]["settings"] for name, attempts in done.items() if attempts},
    }


def _held_out(bench: Bench, measured: Sequence[str]) -> tuple[dict[str, Any], list[evaluate.Card]]:
    real = evaluate.summarise(evaluate.from_source(bench.test, limit=len(bench.held_out)), bench.network)
    figures = ruler.figures(real, bench.reference, bench.network)
    nothing = dict.fromkeys((*FIXED, *measured))
    row = {"model": HELD_OUT, "family": "reference", **nothing, **values(figures), "spread": dict.fromkeys(measured)}
    return row, cards(figures, real, bench, evaluate.Provenance())


def values(figures: Mapping[str, evaluate.Figure]) -> dict[str, float | None]:
    """The figures of a row, by name."""
    return {name: figures[name].value if name in figures else None for name in METRICS}


def cards(
    figures: Mapping[str, evaluate.Figure], generated: evaluate.Statistics, bench: Bench, origin: evaluate.Provenance
) -> list[evaluate.Card]:
    """The same, each with what it was measured against and how."""
    kept = {name: figure for name, figure in figures.items() if name in METRICS}
    return evaluate.cards(kept, generated, bench.reference, provenance=origin, devices=ruler.devices())


def _mean_cards(attempts: list[dict[str, Any]]) -> list[evaluate.Card]:
    """The cards of the first seed, with the mean and the deviation over all seeds."""
    by_metric = zip(
        *([evaluate.Card.from_json(json.dumps(card)) for card in a["cards"]] for a in attempts), strict=True
    )
    means = []
    for cards in by_metric:
        values = [card.value for card in cards]
        seeds = tuple(seed for card in cards for seed in card.seeds)
        spread = float(np.std(values)) if len(values) > 1 else cards[0].spread
        means.append(replace(cards[0], value=float(np.mean(values)), spread=spread, seeds=seeds))
    return means


def print_table(report: Mapping[str, Any]) -> None:
    """The figures that compare, on the console."""
    kept = [Column(*each) for each in report["columns"]]
    kept = [column for column in kept if column.more is not None and column.key not in ("density", "score")]
    table = Table("model", *(column.heading or report["protocol"]["metric"] for column in kept))
    for row in report["rows"]:
        table.add_row(row["model"], *("" if row[c.key] is None else f"{row[c.key]:.3g}" for c in kept))
    Console(width=130).print(table)
