"""What a terminal shows: progress while a search runs, fronts, and single candidates."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from autoprune.archive import TRIAL
from autoprune.errors import AutopruneError
from autoprune.measurement import FEWEST_UNITS, VERIFY, WHOLE, Measurement, Reading, binding_slices
from autoprune.progress import Progress
from autoprune.record import Front, Point, Record
from autoprune.requirements import OBJECTIVES, Requirements

QUIET_S = 30.0
"""Longest silence of a search that works."""

WIDE = 110
"""Columns from which a front shows absolute values beside the ratios."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Ends the process with one message where a person can mend what is wrong."""
    try:
        yield
    except AutopruneError as error:
        Console(stderr=True).print(f"autoprune: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        Console(stderr=True).print(f"autoprune: {where}{error.strerror or error}", style="red", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What is finished is kept; the same command goes on from here.")
        sys.exit(130)


class Watch:
    """Shows a running search: a line for every finished candidate, and one that changes while work goes on.

    Where the output is no terminal, what is being done becomes a line of its own every `QUIET_S` seconds.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._words = "starting"
        self._latest: Progress | None = None
        self._printed_at = time.monotonic()
        self._live = Live(Text(), console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Watch:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def opening(self, words: str) -> None:
        """Prints what the data is."""
        self._print(words)

    def working(self, words: str) -> None:
        """Shows what is being done."""
        self._words = words
        self._refresh()
        if not self.console.is_terminal and time.monotonic() - self._printed_at > QUIET_S:
            self._print(f"     {_counts(self._latest)}{words}")

    def report(self, progress: Progress) -> None:
        """Prints a line for the latest candidate."""
        self._latest = progress
        self._print(_line(progress))
        self._refresh()

    def _print(self, line: str | Text) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)
        self._printed_at = time.monotonic()

    def _refresh(self) -> None:
        if self.console.is_terminal:
            self._live.update(
                Text(f"{_counts(self._latest)}{self._words}", style="dim", overflow="ellipsis"), refresh=True
            )


def _counts(progress: Progress | None) -> str:
    if progress is None:
        return ""
    words = [
        f"{progress.trials}/{progress.of} trials",
        f"{len(progress.front.feasible)} feasible",
        f"{progress.rejected} rejected",
        f"front {len(progress.front)}",
        f"hypervolume {progress.front.hypervolume:.3f}",
    ]
    if progress.seconds_left is not None:
        minutes, seconds = divmod(max(0, round(progress.seconds_left)), 60)
        words.append(f"about {minutes}:{seconds:02d} left")
    return " | ".join(words) + " | "


def _line(progress: Progress) -> Text:
    candidate = progress.latest
    point = progress.front.record.points[candidate.number]
    line = Text(f"{candidate.number:>4} ", style="bold")
    words = candidate.words if candidate.name == TRIAL else candidate.name
    line.append(f"{words:<44} ")
    if candidate.rejected:
        return line.append(f"rejected before training: {candidate.rejected}", style="dim")
    for objective in OBJECTIVES:
        line.append(f" {_cell(objective, point.found)}", style="cyan")
    missed = [text for text, by in progress.front.requirements.violations(point.found).items() if by > 0]
    if missed:
        return line.append(f"  misses {', '.join(missed)}", style="yellow")
    on_front = any(other.candidate.number == candidate.number for other in progress.front)
    return line.append("  on the front" if on_front else "  feasible", style="green")


def front_table(front: Front, *, picks: Mapping[str, Point] | None = None, wide: bool = True) -> Table:
    """The baseline, then the front, in absolute values and relative to the baseline; on test data too where verified.

    Args:
        picks: points to mark, by the word to mark them with.
        wide: whether there is room for absolute values everywhere; without it only the baseline shows them.
    """
    record = front.record
    marks: dict[int, list[str]] = {}
    for word, point in (picks or {}).items():
        marks.setdefault(point.candidate.number, []).append(word)
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("#", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("recipe", ratio=1)
    shown = [record.baseline, *(point for point in front if point.candidate.number)]
    verified = any(point.verified for point in shown)
    worst = "worst slice" if wide else "worst"
    for name in (record.metric, worst, *([f"{record.metric}\ntest", f"{worst}\ntest"] * verified), "size", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in shown:
        absolute = wide or not point.candidate.number
        words = "baseline" if not point.candidate.number else point.candidate.words
        marked = Text(" ".join(marks.get(point.candidate.number, [])), style="bold green")
        table.add_row(
            str(point.candidate.number),
            marked,
            words,
            _cell("quality", point.found, absolute=absolute, relative=wide or not absolute),
            f"{point.found['worst_slice'].ratio:.3f}x",
            *([_cell("quality", point.verified, absolute=absolute, relative=wide or not absolute)] * verified),
            *([_ratio("worst_slice", point.verified)] * verified),
            _cell("size", point.found, absolute=absolute, relative=wide or not absolute),
            _cell("latency", point.found, absolute=absolute, relative=wide or not absolute),
            style="dim" if not point.candidate.number else "",
        )
    return table


def print_front(console: Console, front: Front) -> None:
    """The front with its pick marked, or why it is empty."""
    if not len(front):
        console.print(front.explain_empty(), soft_wrap=True, highlight=False)
        return
    console.print(f"{front.record.name}: {_title(front)}", soft_wrap=True, highlight=False, style="bold")
    console.print(front_table(front, picks={"pick": front.pick()}, wide=console.width >= WIDE))
    if all(not point.candidate.number for point in front):
        console.print("Only the baseline meets the requirements; loosen one, or search on with more trials.")
    for line in _falls(front):
        console.print(line, soft_wrap=True, highlight=False, style="yellow")


def verified_table(front: Front, points: Sequence[Point]) -> Table:
    """What the search saw beside what the verification found, as ratios to the baseline.

    Args:
        points: verified ones.
    """
    on_front = {point.candidate.number for point in front}
    fallen = {fall.point.number for fall in front.falls}
    metric = front.record.metric
    table = Table(box=None, header_style="bold", padding=(0, 0, 0, 1))
    table.add_column("#", justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("recipe", ratio=1)
    for name in (f"{metric}\nsearch", f"{metric}\ntest", "worst\ntest", "size", "latency\nsearch", "latency\nverified"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in points:
        number, first = point.candidate.number, not point.candidate.number
        mark = Text("front" if number in on_front else "", style="bold green")
        if number in fallen:
            mark = Text("fell", style="bold yellow")
        table.add_row(
            str(number),
            mark,
            "baseline" if first else point.candidate.words,
            _cell("quality", point.found, absolute=first, relative=not first),
            _cell("quality", point.verified, absolute=first, relative=not first),
            _ratio("worst_slice", point.verified),
            _cell("size", point.found, absolute=first, relative=not first),
            _cell("latency", point.found, absolute=first, relative=not first),
            _cell("latency", point.verified, absolute=first, relative=not first),
            style="dim" if first else "",
        )
    return table


def print_verified(console: Console, front: Front, *, everything: bool = False) -> None:
    """What a verification found: the finalists on test data, and how many of the front no longer hold."""
    record = front.record
    points = [point for point in (record.points if everything else front.finalists) if point.verified]
    users = points[0].candidate.latest(VERIFY).units[WHOLE]
    title = f"{record.name}: {len(points)} verified on test data ({users} units)"
    console.print(title, soft_wrap=True, highlight=False, style="bold")
    console.print(verified_table(front, points))
    chosen = [point for point in front.searched if point.number and point.verified]
    if not chosen:
        console.print(
            front.explain_empty() if not len(front) else "Only the baseline is on the front.", highlight=False
        )
        return
    console.print(
        f"\n{len(front.falls)} of {len(chosen)} on the search's front (beside the baseline) fell.",
        highlight=False,
    )
    for line in _falls(front):
        console.print(line, soft_wrap=True, highlight=False, style="yellow")
    lost = [point.verified["quality"].ratio - point.found["quality"].ratio for point in chosen]
    console.print(
        f"{record.metric} of the front against the baseline, from validation to test: "
        f"{statistics.median(lost):+.3f}x in the median, {min(lost):+.3f}x at worst.",
        highlight=False,
    )


def _falls(front: Front) -> list[str]:
    """A line for each point that the verification took from the front."""
    return [f"  {fall.point.number} fell: it {fall.words}" for fall in front.falls]


def print_point(console: Console, record: Record, point: Point, requirements: Requirements) -> None:
    """One candidate: recipe, measurements, margins, and the command that makes it again."""
    candidate = point.candidate
    console.print(
        f"candidate {candidate.number} of {record.name} ({candidate.name}, {candidate.key})",
        style="bold",
        highlight=False,
    )
    recipe = yaml.safe_dump(candidate.recipe, sort_keys=False) if candidate.recipe else "the dense model\n"
    console.print(f"\nrecipe\n{_indent(recipe)}", highlight=False)
    if candidate.rejected:
        console.print(f"rejected before training: {candidate.rejected}\n", highlight=False)
    before = record.baseline.candidate
    console.print(_measurements(before.latest(), candidate.latest(), point.found, metric=record.metric))
    pair = candidate.beside(before, VERIFY)
    if pair is not None:
        console.print(_measurements(pair[1], pair[0], point.verified, metric=record.metric))
    if requirements.items:
        console.print(_margins(requirements, point))
    if not candidate.rejected:
        console.print(f"\nartifact  {point.folder}", soft_wrap=True, highlight=False)
    console.print(f"\nmake it again\n  {record.command(point)}", soft_wrap=True, highlight=False)


def _measurements(before: Measurement, measured: Measurement, found: Mapping[str, Reading], *, metric: str) -> Table:
    title = f"measurements (for {measured.purpose}, on {before.split} data)"
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    for name in ("", "value", "baseline", "ratio", ""):
        table.add_column(name, justify="left" if not name else "right")
    binding = binding_slices(before, metric)
    for name, by_slice in measured.quality.items():
        for part, value in by_slice.items():
            was = before.quality[name][part]
            note = "" if part == WHOLE or part in binding else f"not binding ({before.units[part]} units, {was:.4f})"
            if part != WHOLE and part not in binding and before.units[part] >= FEWEST_UNITS:
                note = "not binding: the baseline is near zero"
            label = name if part == WHOLE else f"  {name}.{part}"
            table.add_row(label, f"{value:.4f}", f"{was:.4f}", f"{value / was:.3f}x" if was else "-", note)
    for label, value, was in (
        ("size_bytes", measured.size_bytes, before.size_bytes),
        ("memory_bytes", measured.memory_bytes, before.memory_bytes),
    ):
        table.add_row(label, f"{value:,}", f"{was:,}", f"{value / was:.3f}x", "")
    for name, latency in measured.latency.items():
        reading, was_ms = found[f"latency_ms.{name}"], before.latency[name].median_ms
        p95_ms = latency.p95_ms / latency.median_ms * reading.value
        interval = f"{latency.ratio_low:.3f}-{latency.ratio_high:.3f}x, p95 {p95_ms:.3f}"
        table.add_row(f"latency_ms.{name}", f"{reading.value:.3f}", f"{was_ms:.3f}", f"{reading.ratio:.3f}x", interval)
    return table


def _margins(requirements: Requirements, point: Point) -> Table:
    table = Table(box=None, header_style="bold", title="requirements", title_justify="left")
    for name in ("", "margin", ""):
        table.add_column(name, justify="right" if name else "left")
    violations = requirements.violations(point.found)
    for item in requirements.items:
        if item.text not in violations:
            table.add_row(item.text, "-", "not measured")
        else:
            by = violations[item.text]
            table.add_row(item.text, f"{-by:+.1%}", "missed" if by > 0 else "holds", style="yellow" if by > 0 else "")
    return table


def _title(front: Front) -> str:
    held = ", ".join(item.text for item in front.requirements.items) or "no requirements"
    return f"{len(front)} on the front, {len(front.feasible)} of {len(front.record.points)} feasible ({held})"


def _cell(objective: str, found: Mapping[str, Reading], *, absolute: bool = True, relative: bool = True) -> str:
    reading = found.get(OBJECTIVES[objective][0])
    if reading is None:
        return "-"
    value = {
        "quality": f"{reading.value:.4f}",
        "size": f"{_bytes(reading.value)}",
        "latency": f"{reading.value:.3f} ms",
    }[objective]
    return " ".join([value] * absolute + [f"{reading.ratio:.3f}x"] * relative)


def _ratio(name: str, found: Mapping[str, Reading]) -> str:
    return f"{found[name].ratio:.3f}x" if name in found else "-"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _indent(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
