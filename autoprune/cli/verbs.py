"""The verbs: what `autoprune VERB STUDY` does."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from rich.console import Console

from autoprune.artifacts.formats import OWN, find_format
from autoprune.cli.cache import cache_lines
from autoprune.cli.options import RUNS, Argument, Bounds, Everything, Option, Preferred, Study
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.overrides import at_home
from autoprune.record.archive import ROUNDS
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views.commands import placeless
from autoprune.views.front_json import front_json
from autoprune.views.phrases import beyond, byte_count, standing, verifying
from autoprune.views.rows import front_csv
from autoprune.views.terminal import (
    Watch,
    earlier,
    print_comparison,
    print_front,
    print_point,
    print_verified,
    say,
    terminal,
)


def front(
    record: Study,
    limits: Everything,
    *,
    sort: Annotated[
        str, Option("Sort by quality, size, latency or any reading, such as recall@20.tail; the best comes first.")
    ] = "quality",
    all_: Annotated[bool, Option("Show every point of a long front, and promising looks beyond it.")] = False,
    csv: Annotated[bool, Option("Print comma-separated values; docs/numbers.md names the columns.")] = False,
    json_: Annotated[bool, Option("Print JSON; docs/numbers.md describes it.")] = False,
) -> None:
    """Show the Pareto front: the baseline first, then every candidate that no other feasible one beats.

    Verified candidates are shown with their test values, and stay only if they still meet the requirements. If no
    candidate does, the output says which requirements were missed, by how much, and what would be enough.

    --all also lists, below the table, promising recipes that were only looked at, never made and measured.

    The size is that of the model (model/ in the artifact). `show` gives the size of the whole folder, which also holds
    titles, and the histories from which users without a row are served.
    """
    if csv and json_:
        raise AutopruneError("--csv and --json: only one of them can be printed; leave the other out.")
    pareto = Front(record, limits)
    if json_:
        sys.stdout.write(json.dumps(front_json(pareto, sort=sort), indent=2, allow_nan=False) + "\n")
    elif csv:
        if not len(pareto):
            sys.stderr.write(f"{pareto.explain_empty()}\n")
        sys.stdout.write(front_csv(pareto, sort=sort))
    else:
        console = terminal()
        print_front(console, pareto, sort=sort, everything=all_)
        if pareto.format_note:
            say(console, f"\n{pareto.format_note}")


def verify(
    record: Study,
    limits: Everything,
    *,
    all_: Annotated[bool, Option("Verify every candidate, not only the finalists.")] = False,
    again: Annotated[bool, Option("Measure again what was already verified on this machine.")] = False,
    rounds: Annotated[int, Option("Processes that time each artifact; an interval needs at least 3.")] = ROUNDS,
) -> None:
    """Measure the finalists again: quality on test data that the search never saw, latency timed longer.

    Finalists are the baseline, the presets, the front and the profiles' picks. Earlier verifications on this machine
    are kept, so an interrupted verification continues where it stopped. At the end the output lists which candidates
    fell, and which profiles now pick another one.
    """
    from autoprune.study.verify import verify as measure  # here, because it takes seconds to import

    console, before = terminal(), earlier(record)
    with Watch(console) as watch:
        verified = measure(
            record.folder,
            limits,
            everything=all_,
            again=again,
            rounds=rounds,
            working=watch.working,
            expect=watch.expect,
        )
    print_verified(console, verified, everything=all_, before=before)


def record(
    study: Study,
    to: Annotated[Path, Option("Folder to write to, such as studies/NAME.")],
) -> None:
    """Write the record of a study: study.yaml, front.csv, front.png. An existing README.md, which is yours, stays."""
    from autoprune.views.snapshot import write  # here, because plots take a second to import

    for path in write(Front(study), to):
        sys.stdout.write(f"wrote {path}\n")
    left = [] if study.baseline.verified else [f"verify the front on test data: {study.verb('verify')}"]
    if not (to / "README.md").exists():
        left.append(f"write {to / 'README.md'}: the question, what was learned (failures too), the machine")
    for line in left:
        sys.stdout.write(f"still to do: {line}\n")


def report(
    record: Study,
    *,
    to: Annotated[Path | None, Option("File to write; by default report.html in the study's folder.")] = None,
    limits: Preferred,
) -> None:
    """Write one HTML file that opens offline: plots, movable limits, the pick, every candidate."""
    from autoprune.views.report import write  # here, because plots take a second to import

    sys.stdout.write(f"wrote {write(Front(record, limits), to)}\n")


def show(
    record: Study,
    number: Annotated[int, Argument("Number of the candidate, as `front` shows it.", "NUMBER")],
    limits: Bounds,
) -> None:
    """Show one candidate: recipe, measurements, margins to the requirements, the command to repeat it."""
    print_point(terminal(), Front(record, limits), record.point(number))


def compare(
    record: Study,
    other: Annotated[Record, Argument("Name of another study of the same task.", "STUDY")],
    limits: Bounds,
    *,
    json_: Annotated[bool, Option("Print the content of the table as JSON.")] = False,
) -> None:
    """Compare two searches of one task on one data set: which front beats which, and the best size at each quality.

    It compares verified values if both fronts are verified, and latency only if one machine timed both.
    """
    from autoprune.views.compare import compare as compared  # here, because a verb has the same name

    comparison = compared(Front(record, limits), Front(other, limits))
    if json_:
        sys.stdout.write(json.dumps(comparison.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        print_comparison(terminal(), comparison)


def pick(
    record: Study,
    *,
    to: Annotated[Path, Option("Folder to create.")],
    number: Annotated[int | None, Argument("Number of the candidate; default: the best that fits.", "NUMBER")] = None,
    dense: Annotated[bool, Option("Ship the dense model if no smaller candidate fits.")] = False,
    bare: Annotated[bool, Option("Copy the model only: no titles, histories or removed ids.")] = False,
    limits: Everything,
) -> None:
    """Copy the artifact that fits best to a folder, ready to ship, with a model card (README.md) in it.

    If no smaller candidate fits, nothing is written and the reason is shown; --dense, or number 0, ships the dense
    model anyway.

    With --format, the folder needs no autoprune. Only candidates that the format can hold are considered; if there are
    none, the output says why and suggests a search. What the conversion loses is printed first, and noted in the card.
    """
    from autoprune.views.card import write_card

    if to.exists():
        raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
    pareto = Front(record, limits)
    point = _chosen(pareto, dense=dense) if number is None else record.point(number)
    if point.candidate.rejected:
        raise AutopruneError(f"candidate {number} was rejected and has no artifact; pick another.")
    if not point.folder.exists():
        _make_again(record, point)
        point = dataclasses.replace(point)  # a fresh one, which reads the new artifact
    if obstacles := point.obstacles(limits.format):
        why = ", and ".join(one.reason for one in obstacles)
        way = "Pick another, or omit the number."
        raise AutopruneError(f"candidate {number} cannot be written in the format {limits.format}: {why}. {way}")
    console, form = terminal(), find_format(limits.format, bare=bare)
    try:
        for loss in form.losses(point.folder):
            say(console, f"Note: {loss}", style="yellow")
        form.write(point.folder, to)
    except AutopruneError as error:
        raise AutopruneError(f"{error}\nOr rebuild it:\n  {record.command(point)}") from error
    card = write_card(pareto, point, to, bare=bare, made_by=placeless(["autoprune", *sys.argv[1:]]))
    print_point(console, pareto, point, everything=False)
    _say_doubts(console, pareto, point)
    _say_shipped(console, pareto, to, card)


def _make_again(record: Record, point: Point) -> None:
    """Rebuilds a deleted artifact, while no other process works on the study."""
    from autoprune.record.folder import driving
    from autoprune.study.evaluation.eviction import make_again  # here, because it takes seconds to import

    try:
        with driving(record.folder), Watch(terminal()) as watch:
            make_again(record, [point], working=watch.working)
    except AutopruneError as error:
        raise AutopruneError(
            f"the artifact of candidate {point.number} was deleted and cannot be rebuilt here: {error}\n"
            f"Or rebuild it in a study of its own:\n  {record.command(point)}"
        ) from error


def dashboard(
    record: Study,
    *,
    port: Annotated[int, Option("Port to listen on; 0: any free one.", most=65535)] = 8080,
    host: Annotated[str, Option("Address to listen on; 0.0.0.0 lets other machines connect.")] = "127.0.0.1",
    limits: Bounds,
) -> None:
    """Show every candidate (no looks) in optuna-dashboard; it follows a running search."""
    from autoprune.views.dashboard import Dashboard, serve  # here, because it takes a second to import Optuna

    def ready(address: str) -> None:
        sys.stdout.write(f"{address}\nA read-only mirror of {record.name!r}; Ctrl-C stops it.\n")
        sys.stdout.flush()

    shown = Dashboard(lambda: Front(Record(record.folder), limits), record.archive.path)
    serve(shown, host=host, port=port, ready=ready)


def cache(
    *,
    runs: Annotated[Path, RUNS] = Path("runs"),
    clear: Annotated[bool, Option("Delete them: what is needed is computed again.")] = False,
) -> None:
    """Show the caches and their sizes.

    They are safe to delete: no study or artifact depends on them. Checkpoints of trained models lie in the folder of
    the studies, which share them; above 4 GB the least recently used are deleted. The other caches lie in your user's
    cache folder.
    """
    console = terminal()
    for line in cache_lines(at_home(runs), clear=clear):
        say(console, line)


VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb for verb in (front, verify, record, report, show, compare, pick, dashboard, cache)
}
"""What `autoprune VERB` runs, by name."""


def _chosen(front: Front, *, dense: bool) -> Point:
    """The pick of a front; the dense model only if `dense` is set."""
    try:
        point = front.pick()
    except AutopruneError as error:
        reasons = dict.fromkeys([str(error), front.format_note])  # the same text if the format can hold no candidate
        raise AutopruneError("\n".join(filter(None, reasons))) from error
    if point.number or dense:
        return point
    why = [part for part in (front.explain_dense(), front.format_note) if part]
    first = "nothing was written, because the pick is the dense model itself; --dense ships it anyway."
    raise AutopruneError("\n".join([first, f"study {front.record.name!r}: {why[0]}", *why[1:]]))


def _say_doubts(console: Console, front: Front, point: Point) -> None:
    """Prints the reasons not to ship a point."""
    warning = standing(front, point)
    if warning:
        say(console, f"\nWARNING: {warning}.", style="bold red")
    if beyond(front.record, point):
        say(console, f"\nIt {beyond(front.record, point)}.", style="bold yellow")
    if not point.verified:
        say(console, f"\nIt is not verified on test data; verify it:\n  {verifying(front, point)}", style="bold yellow")


def _say_shipped(console: Console, front: Front, to: Path, card: Path) -> None:
    """Prints what was written where, and how to use it."""
    form = find_format(front.format)
    if front.format != OWN:
        if front.format_note:
            say(console, f"\n{front.format_note}")
        shipped = f"Written to {to} for {front.format}, {byte_count(form.size_bytes(to))}"
    else:
        from autoprune.artifacts.artifact import folder_bytes  # here, because it imports numpy

        whole = byte_count(folder_bytes(to))
        shipped = f"Shipped to {to}: the model takes {byte_count(form.size_bytes(to))}, the whole folder {whole}"
    say(console, f"\n{shipped}. The model card is {card}. Use it:")
    console.print(f"  {form.use(to, str(to)).command}", highlight=False, markup=False, soft_wrap=True)
