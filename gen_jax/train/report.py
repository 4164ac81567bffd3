"""What a run shows and writes: a progress bar or plain lines, and ``metrics.jsonl``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gen_jax.train.files import append, cut_back

Row = dict[str, float]
LINE_INTERVAL = 2.0  # seconds between plain lines, where there is no progress bar; every row goes to the file


class Reporter:
    """Progress on the screen and one JSON object a row in ``metrics.jsonl``; a context manager.

    Args:
      total: steps of the whole run.
      start: steps already done; later rows of an earlier attempt are dropped from the file.
      path: the file to append to; None writes none.
      seconds: time that the run may train for, if that ends it; the bar then shows seconds.
      title: what the progress bar says it is.
      quiet: show nothing.
    """

    def __init__(
        self, total: int, start: int, path: Path | None, *, title: str, seconds: float = 0.0, quiet: bool = False
    ):
        self.total, self.path, self.title, self.seconds = total, path, title, seconds
        self.console = Console(stderr=True, quiet=quiet)
        self.rows: list[Row] = [] if path is None else cut_back(path, start)
        self.last_line = -LINE_INTERVAL
        self.progress: Progress | None = None
        if self.console.is_terminal and not quiet:
            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.progress.add_task(
                title, total=seconds or total, completed=0 if seconds else start, status=""
            )

    def __enter__(self) -> "Reporter":
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(f"{self.title}: {text}", highlight=False, soft_wrap=True)

    def advance(self, step: int, seconds: float) -> None:
        """Moves the bar to this step, reached after so many seconds of training."""
        if self.progress is not None:
            self.progress.update(self.task, completed=round(seconds) if self.seconds else step)

    def write(self, row: Row) -> None:
        """Shows a row and appends it to the file."""
        self.rows.append(row)
        if self.path is not None:
            append(self.path, row)
        speed = f"{row['steps_per_second']:.3g} steps/s  {row['examples_per_second']:.3g} examples/s"
        hidden = ("step", "examples", "seconds", "steps_per_second", "examples_per_second")
        figures = "  ".join(
            f"{k} {v:.4g}"
            for k, v in row.items()
            if k not in hidden and not k.endswith(("gradient_norm", "learning_rate"))
        )
        if self.progress is not None:
            self.progress.update(self.task, status=f"{speed}  {figures}")
        elif row["step"] == self.total or time.monotonic() - self.last_line >= LINE_INTERVAL:
            self.last_line = time.monotonic()
            left = (self.total - row["step"]) / max(row["steps_per_second"], 1e-9)
            left = max(0.0, self.seconds - row["seconds"]) if self.seconds else left
            of = "" if self.seconds else f"/{self.total}"
            self.say(f"step {row['step']:.0f}{of}  {speed}  {figures}  {left:.0f} s left")


class Means:
    """Of every figure, over the steps since the last row in which it was reported.

    Args:
      sums: those of an earlier attempt, by name: the sum, and of how many; they are kept with its checkpoints, so that
        the next row is that of a run which was never stopped.
    """

    def __init__(self, sums: Mapping[str, Sequence[float]] = {}):
        self.sums = {name: (float(total), int(count)) for name, (total, count) in sums.items()}

    def add(self, figures: Mapping[str, float]) -> None:
        """Those of one step."""
        for name, value in figures.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def taken(self) -> Row:
        """The means, which begin anew."""
        row = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums.clear()
        return row
