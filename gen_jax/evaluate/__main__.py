"""Measures one set of examples against another: FID and all the rest.

    python -m gen_jax.evaluate samples/ cifar10:train --metrics fid,kid,prdc,is
    python -m gen_jax.evaluate runs/ddpm fashion_mnist:train --number 10000
    python -m gen_jax.evaluate samples.npy reference.safetensors --out cards.json
    python -m gen_jax.evaluate cifar10:train --save-statistics reference.safetensors

    python -m gen_jax.evaluate runs/ddpm --likelihood 200

A, the generated examples, and B, the reference, are each a folder of images, an .npy or .npz file, a data set with a
split (NAME:SPLIT, by default train), the directory of a finished run, which is sampled as it is measured, or statistics
that --save-statistics wrote. A run alone is measured against at most 10,000 held-out examples of its own data, in the
features that come with them or random ones. Every number is printed with what it depends on.

A file holds uint8 images [N, H, W, C] or videos [N, T, H, W, C], floats [N, D] or [N, T, D], or integers [N, T], which
are symbols; an .npz file may hold their lengths [N] beside them, as 'length'.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gen_jax import cli, data, evaluate, ruler
from gen_jax.checks import Count, Number, plain
from gen_jax.evaluate import ExampleSet, FeatureNetwork, Provenance, Statistics
from gen_jax.evaluate.card import to_dict
from gen_jax.fields import PIXELS
from gen_jax.networks.inception import WIDTHS
from gen_jax.run import Run, load
from gen_jax.settings import last_stage
from gen_jax.train.files import write_atomically
from gen_jax.train.room import writing

USAGE = "expected: python -m gen_jax.evaluate A B --metrics fid,prdc [--help], or a run's directory alone"


@plain
class Command:
    """What to measure, and how."""

    metrics: str = "fid,kid,prdc"
    """fid, kid, prdc, is, fid_infinity, is_infinity, memorisation, and against the data ring or grid modes, separated
    by commas."""
    features: str = "auto"
    """Network: inception (or inception-64, -192, -768: its earlier features), digits, fashion, random, or a file of
    experiments.feature_network; auto takes that of saved statistics, or the one that comes with the reference's data
    set, else inception. What is no image has its own features, and videos those of this network's, frame by frame."""
    inception_weights: str = ""
    """File with Inception's weights (.pth or .safetensors); empty: $GEN_JAX_INCEPTION, the cache, or a download."""
    number: Number = 0
    """Examples of A, where it is a run or a data set; 0: of a run as many as B has, of a data set all."""
    reference_number: Number = 0
    """Examples of B, in the same way."""
    seed: Number = 0
    """Seed of what is drawn from a run."""
    raw: bool = False
    """Use a run's last weights instead of their average."""
    neighbours: Count = 3
    """k of precision and recall."""
    density_neighbours: Count = 5
    """k of density and coverage."""
    splits: Count = 10
    """Parts that a score is the mean over."""
    subsets: Count = 100
    """Random subsets that a kernel distance is the mean over."""
    subset_size: Count = 1000
    """Examples in each, from either side."""
    likelihood: Number = 0
    """Held-out examples whose likelihood is averaged, of a run alone whose model has one; 0 measures none."""
    intervals: Number = 0
    """Half-samples that 95 % intervals are made from; 0 makes none."""
    batch_size: Number = 0
    """Examples at a time; 0: the network's own."""
    save_statistics: str = ""
    """Write the statistics of A to this .safetensors file; B may then be left out."""
    keep_features: bool = False
    """Keep features in that file, 8 KB an image in Inception's; without, it serves fid and is alone."""
    out: str = ""
    """Write the cards to this .json file."""
    json: bool = False
    """Print the cards as JSON instead of a line each."""


def measure(sides: Sequence[str], command: Command) -> None:
    """Measures, prints and writes."""
    metrics = _metrics(command)
    for flag, file in (("--out", command.out), ("--save-statistics", command.save_statistics)):
        if file and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
            raise cli.UsageError(f"{flag} should be a file in a folder that is there, got {file}")
    settings = evaluate.Choices(
        command.neighbours, command.density_neighbours, command.splits, command.subsets, command.subset_size
    )
    kept = bool(command.intervals) or any(name not in evaluate.STREAMING for name in metrics)
    run = load(sides[0], raw=command.raw) if _is_run(sides[0]) else None
    alone = run is not None and len(sides) == 1 and not command.save_statistics
    if command.likelihood and not alone:
        raise ValueError(f"--likelihood {command.likelihood} is of a run alone, on its own data; leave it or B out")
    with _shown() as reader:
        reading = _Reading(command, reader, keep=kept)
        if alone:
            assert run is not None
            held_out = ruler.held_out(run)
            theirs = _Side(evaluate.from_source(held_out, run.model.makes, limit=ruler.REFERENCE_LIMIT))
            ours = reading.of_run(run, command.number or theirs.size)
            network = reading.network(theirs, ours, ruler.feature_network(held_out, run.model.makes))
            sides = [*sides, held_out.name]
        else:
            made = "" if run is None else run.model.makes
            theirs = reading.open(sides[-1], command.reference_number if len(sides) == 2 else command.number, made=made)
            ours = theirs
            if len(sides) == 2:
                ours = (
                    reading.of_run(run, command.number or theirs.size)
                    if run
                    else reading.open(sides[0], command.number)
                )
            network = reading.network(theirs, ours)
        reference = reading.statistics(theirs, network)
        generated = reading.statistics(ours, network) if len(sides) == 2 else reference
    if command.save_statistics:
        with writing(Path(command.save_statistics)):
            evaluate.save_statistics(command.save_statistics, generated)
    if len(sides) == 1:
        print(f"{generated.n:,} examples of {generated.name} {generated.split}: {command.save_statistics}")
        return
    found = evaluate.measure(
        generated, reference, metrics, settings=settings, replicates=command.intervals, seed=command.seed
    )
    cards = evaluate.cards(found, generated, reference, provenance=ours.origin, devices=ruler.devices())
    written = json.dumps([to_dict(card) for card in cards], indent=1)
    if command.out:
        write_atomically(Path(command.out), written + "\n")
    print(written if command.json else "\n".join(map(str, cards)))
    if run is not None and command.likelihood:
        print(_likelihood(run, held_out, command))


class _Side(NamedTuple):
    """A or B as it was written: a set that is still to be read, or statistics."""

    examples: ExampleSet | Statistics
    origin: Provenance = Provenance()

    @property
    def size(self) -> int:
        """How many examples there are."""
        return self.examples.size if isinstance(self.examples, ExampleSet) else self.examples.n


class _Reading:
    """From what was written on the command line to statistics."""

    def __init__(self, command: Command, advance: Callable[[str, int], Callable[[int], None]], *, keep: bool):
        self.command, self.advance, self.keep = command, advance, keep

    def open(self, text: str, number: int, *, made: str = "") -> _Side:
        """A or B, and what is known of the model behind it; of a data set, the field ``made`` if it has it."""
        if text.endswith(".safetensors"):
            return _Side(evaluate.load_statistics(text))
        if _is_run(text):
            return self.of_run(load(text, raw=self.command.raw), number or 50_000)
        source = self._source(text)
        if source is None:
            return _Side(evaluate.open_examples(text))
        name = made if made in source.fields else _measured(source)
        return _Side(evaluate.from_source(source, name, limit=number or None))

    def of_run(self, run: Run, number: int) -> _Side:
        """Samples that are drawn as they are measured, with what is known of their model."""
        examples, weights = ruler.samples(run, number, seed=self.command.seed), "raw" if self.command.raw else "EMA"
        return _Side(examples, ruler.provenance(run, weights=weights, seed=self.command.seed))

    def network(self, reference: _Side, generated: _Side, own: FeatureNetwork | None = None) -> FeatureNetwork | None:
        """The features that both are measured in: those of the reference; None, where both are measured already."""
        if own is not None and self.command.features == "auto":
            return own
        known, name = reference.examples, self.command.features
        example = next((s.examples for s in (reference, generated) if isinstance(s.examples, ExampleSet)), None)
        if example is None:
            return None
        field = example.field
        if field.kind is not PIXELS:
            return evaluate.features_of(field)
        if name == "auto":
            found = known.network if isinstance(known, Statistics) else evaluate.features_of(field, known.name).name
            name = found.removesuffix("-frames")
            name = "inception" if name == "random" and known is example else name
        images = self._images(name, field.shape[-1])
        return images if len(field.shape) == 3 else evaluate.frame_features(images, field.shape[0])

    def statistics(self, side: _Side, network: FeatureNetwork | None) -> Statistics:
        """Those of A or B."""
        if isinstance(side.examples, Statistics) or network is None:
            return side.examples  # type: ignore[return-value]
        return evaluate.summarise(
            side.examples,
            ruler.suited(network, side.examples.field),
            keep=self.keep or self.command.keep_features,
            splits=self.command.splits,
            batch_size=self.command.batch_size or None,
            advance=self.advance(side.examples.name, side.examples.size),
        )

    def _images(self, name: str, channels: int) -> FeatureNetwork:
        kind, *rest = name.split("-")
        if kind == "inception":  # "inception-ca1a-768" are features of 768 in weights of one's own
            tap = next((part for part in reversed(rest) if part in WIDTHS), "2048")
            return evaluate.load_inception(self.command.inception_weights or None).feature_network(tap)
        if name.endswith(".safetensors"):
            return evaluate.read_feature_network(name, Path(name).stem)
        return evaluate.named_feature_network(name, channels=channels)

    def _source(self, text: str) -> data.Source | None:
        """The data set of a name and split; None, if there is a file or folder of this name."""
        path = Path(text).expanduser()
        if "/" in text or path.suffix in (".npy", ".npz") or os.path.exists(path):
            return None
        name, _, split = text.partition(":")
        return data.load(name, split=split or "train")


def _is_run(text: str) -> bool:
    try:
        return (last_stage(Path(text)) / "config.json").is_file()
    except OSError:  # which whoever reads it puts into words
        return False


def _likelihood(run: Run, held_out: data.Source, command: Command) -> str:
    """What held-out examples cost, as a line or as JSON."""
    costs, unit = ruler.likelihood(run, held_out, command.likelihood, seed=command.seed), run.makes.kind.unit
    error = float(costs.std(ddof=1)) / len(costs) ** 0.5 if len(costs) > 1 else None
    if command.json:
        facts = {"likelihood": float(costs.mean()), "error": error, "unit": unit, "kind": run.log_prob_kind}
        return json.dumps({**facts, "examples": len(costs)}, indent=1)
    spread = "" if error is None else f" +- {error:.2g}"
    of = f"{len(costs):,} examples of {held_out.name} {held_out.split}"
    return f"{unit} {costs.mean():.4g}{spread}: {run.log_prob_kind}, {of}"


def _measured(source: data.Source) -> str:
    """The field that is measured of a data set: its images, or the first that is neither label nor length."""
    fields = [name for name in source.fields if name not in ("label", "length")]
    return "image" if "image" in fields else fields[0]


def _metrics(command: Command) -> list[str]:
    names = [name.strip() for name in command.metrics.split(",") if name.strip()]
    for name in names:
        if name not in evaluate.METRICS:
            raise cli.UsageError(f"--metrics: unknown metric {name!r}; there are {', '.join(evaluate.METRICS)}")
    return names


@contextmanager
def _shown() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A bar for every set that is read, where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:

        def begin(name: str, size: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=size)
            return lambda count: progress.update(task, advance=count)

        yield begin


def main(arguments: Sequence[str]) -> None:
    """Runs one command line."""
    sides = []
    for argument in arguments:
        if argument.startswith("-"):
            break
        sides.append(argument)
    asked_for_help = any(argument in ("-h", "--help") for argument in arguments)
    command = cli.parse(
        Command,
        arguments[len(sides) :],
        default=Command(),
        program="python -m gen_jax.evaluate A B",
        description=__doc__,
    )
    enough = len(sides) == 2 or (len(sides) == 1 and (command.save_statistics or _is_run(sides[0])))
    if not asked_for_help and not enough:
        raise cli.UsageError(
            f"{USAGE}; got {len(sides)} sets before the flags (one is enough with --save-statistics, or if it is a run)"
        )
    cli.use_compilation_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            measure(sides, command)
        except data.DataError:
            raise
        except ValueError as error:
            raise cli.UsageError(str(error)) from error


if __name__ == "__main__":
    cli.end(lambda: main(sys.argv[1:]), data_error=data.DataError)
