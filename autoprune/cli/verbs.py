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
from autoprune.cli.cache import told
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
        str, Option("quality, size, latency or any reading, such as recall@20.tail; the best comes first.")
    ] = "quality",
    all_: Annotated[bool, Option("Show every point of a long front, and what looks promise beyond it.")] = False,
    csv: Annotated[bool, Option("Print comma-separated values; docs/numbers.md names the columns.")] = False,
    json_: Annotated[bool, Option("Print JSON; docs/numbers.md says what stands in it.")] = False,
) -> None:
    """Show the Pareto front: the baseline first, then every candidate that no other feasible one beats.

    What was verified is shown by its verified values, on test data, and stays only if it still holds. Where nothing
    meets the requirements, it is said what was missed, by how much, and what would be enough.

    Looks are no measurements: --all lists those of their front that were not made after the table, apart from it.

    The size is that of what answers (model/ in the artifact). `show` tells what the whole folder takes, with titles
    and the histories that users without a row are served from.
    """
    if csv and json_:
        raise AutopruneError("--csv and --json: one of them can be printed at a time; leave the other out.")
    found = Front(record, limits)
    if json_:
        sys.stdout.write(json.dumps(front_json(found, sort=sort), indent=2, allow_nan=False) + "\n")
    elif csv:
        if not len(found):
            sys.stderr.write(f"{found.explain_empty()}\n")
        sys.stdout.write(front_csv(found, sort=sort))
    else:
        console = terminal()
        print_front(console, found, sort=sort, everything=all_)
        if found.format_note:
            say(console, f"\n{found.format_note}")


def verify(
    record: Study,
    limits: Everything,
    *,
    all_: Annotated[bool, Option("Verify every candidate, not the finalists alone.")] = False,
    again: Annotated[bool, Option("Measure anew what was verified on this machine.")] = False,
    rounds: Annotated[int, Option("Processes that time each artifact; an interval takes at least 3.")] = ROUNDS,
) -> None:
    """Measure the finalists once more: quality on test data that the search never saw, latency timed longer.

    Finalists are the baseline, the presets, the front and the profiles' picks. What was verified on this machine before
    is kept, so that an interrupted verification goes on where it stopped. At the end: what fell, and which profiles now
    pick another one.
    """
    from autoprune.study.verify import verify as measure  # here, because it takes seconds to import

    console, before = terminal(), earlier(record)
    with Watch(console) as watch:
        found = measure(
            record.folder,
            limits,
            everything=all_,
            again=again,
            rounds=rounds,
            working=watch.working,
            expect=watch.expect,
        )
    print_verified(console, found, everything=all_, before=before)


def record(
    study: Study,
    to: Annotated[Path, Option("Folder to write to, such as studies/NAME.")],
) -> None:
    """Write what a recorded study keeps: study.yaml, front.csv, front.png. A README.md is yours: it is left alone."""
    from autoprune.views.snapshot import write  # here, because plots take a second to import

    for path in write(Front(study), to):
        sys.stdout.write(f"wrote {path}\n")
    unsaid = [] if study.baseline.verified else [f"verify the front on test data: {study.verb('verify')}"]
    if not (to / "README.md").exists():
        unsaid.append(f"write {to / 'README.md'}: what was asked, what was learned (what failed too), on which machine")
    for line in unsaid:
        sys.stdout.write(f"still to do: {line}\n")


def report(
    record: Study,
    *,
    to: Annotated[Path | None, Option("File to write; by default report.html in the study's folder.")] = None,
    limits: Preferred,
) -> None:
    """Write one HTML file that opens offline: the plots, limits to move, the pick, every candidate."""
    from autoprune.views.report import write  # here, because plots take a second to import

    sys.stdout.write(f"wrote {write(Front(record, limits), to)}\n")


def show(
    record: Study,
    number: Annotated[int, Argument("Number of the candidate, as in the front.", "NUMBER")],
    limits: Bounds,
) -> None:
    """Show one candidate: recipe, measurements, margins to the requirements, the command that makes it again."""
    print_point(terminal(), Front(record, limits), record.point(number))


def compare(
    record: Study,
    other: Annotated[Record, Argument("Name of another study of the same task.", "STUDY")],
    limits: Bounds,
    *,
    json_: Annotated[bool, Option("Print JSON: what the table shows, by name.")] = False,
) -> None:
    """Compare two searches of one task on one data set: whose front beats whose, and what each gives for what.

    By verified values where both fronts are verified; latency only where one machine timed both.
    """
    from autoprune.views.compare import compare as compared  # here, beside a verb of that name

    found = compared(Front(record, limits), Front(other, limits))
    if json_:
        sys.stdout.write(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        print_comparison(terminal(), found)


def pick(
    record: Study,
    *,
    to: Annotated[Path, Option("Folder to make.")],
    number: Annotated[int | None, Argument("Number of the candidate; left out, the best that fits.", "NUMBER")] = None,
    dense: Annotated[bool, Option("Ship the dense model if that is what fits best; otherwise it is refused.")] = False,
    bare: Annotated[bool, Option("Leave out what lies beside the model: titles, histories, removed ids.")] = False,
    limits: Everything,
) -> None:
    """Copy the artifact that fits best to a folder, ready to ship, with a model card (README.md) in it.

    Where that is the dense model itself, because no smaller one fits, it is said and nothing is written: --dense, or
    its number 0, ships it all the same.

    With --format it becomes a folder that needs no autoprune: the best of those candidates that have such a form;
    where there is none, it is said why, and what search finds one. What is lost on the way is said first, and stands
    in the card.
    """
    from autoprune.views.card import write_card

    if to.exists():
        raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
    found = Front(record, limits)
    point = _chosen(found, dense=dense) if number is None else record.point(number)
    if point.candidate.rejected:
        raise AutopruneError(f"candidate {number} was rejected and has no artifact; pick another.")
    if not point.folder.exists():
        _make_again(record, point)
        point = dataclasses.replace(point)  # which reads anew what there is
    if obstacles := point.obstacles(limits.format):
        why = ", and ".join(one.reason for one in obstacles)
        way = "Pick another, or leave the number out."
        raise AutopruneError(f"candidate {number} can't be written in the format {limits.format}: {why}. {way}")
    console, form = terminal(), find_format(limits.format, bare=bare)
    try:
        for loss in form.losses(point.folder):
            say(console, f"Note: {loss}", style="yellow")
        form.write(point.folder, to)
    except AutopruneError as error:
        raise AutopruneError(f"{error}\nOr make it again:\n  {record.command(point)}") from error
    card = write_card(found, point, to, bare=bare, made_by=placeless(["autoprune", *sys.argv[1:]]))
    print_point(console, found, point, everything=False)
    _say_doubts(console, found, point)
    _say_shipped(console, found, to, card)


def _make_again(record: Record, point: Point) -> None:
    """Makes an artifact that is gone, while nobody else works on the study."""
    from autoprune.record.folder import driving
    from autoprune.study.evaluation.eviction import make_again  # here, because it takes seconds to import

    try:
        with driving(record.folder), Watch(terminal()) as watch:
            make_again(record, [point], working=watch.working)
    except AutopruneError as error:
        raise AutopruneError(
            f"the artifact of candidate {point.number} is gone, and cannot be made again here: {error}\n"
            f"Or make it in a study of its own:\n  {record.command(point)}"
        ) from error


def dashboard(
    record: Study,
    *,
    port: Annotated[int, Option("Port to listen on; 0 takes any that is free.", most=65535)] = 8080,
    host: Annotated[str, Option("Address to listen on; 0.0.0.0 lets other machines look.")] = "127.0.0.1",
    limits: Bounds,
) -> None:
    """Show every candidate, but no looks, in optuna-dashboard; it follows a search that is running."""
    from autoprune.views.dashboard import Dashboard, serve  # here, because it takes a second to import Optuna

    def ready(address: str) -> None:
        sys.stdout.write(f"{address}\nA read-only mirror of {record.name!r}; Ctrl-C ends it.\n")
        sys.stdout.flush()

    shown = Dashboard(lambda: Front(Record(record.folder), limits), record.archive.path)
    serve(shown, host=host, port=port, ready=ready)


def cache(
    *,
    runs: Annotated[Path, RUNS] = Path("runs"),
    clear: Annotated[bool, Option("Delete it: what is needed again is computed again.")] = False,
) -> None:
    """Show what is kept so that nothing is computed twice, and how large it is.

    Studies and artifacts do not rest on it. Checkpoints of trained models lie beside the studies that share them; once
    they outgrow 4 GB, those go that were used longest ago. All else lies in your user's cache.
    """
    console = terminal()
    for line in told(at_home(runs), clear=clear):
        say(console, line)


VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb for verb in (front, verify, record, report, show, compare, pick, dashboard, cache)
}
"""What `autoprune VERB` runs, by name."""


def _chosen(found: Front, *, dense: bool) -> Point:
    """The pick of a front; the dense model only for who asked for it."""
    try:
        point = found.pick()
    except AutopruneError as error:
        said = dict.fromkeys([str(error), found.format_note])  # where nothing has the form, both are one
        raise AutopruneError("\n".join(filter(None, said))) from error
    if point.number or dense:
        return point
    why = [part for part in (found.explain_dense(), found.format_note) if part]
    first = "what fits best is the dense model itself, so that nothing was written; --dense ships it all the same."
    raise AutopruneError("\n".join([first, f"study {found.record.name!r}: {why[0]}", *why[1:]]))


def _say_doubts(console: Console, found: Front, point: Point) -> None:
    """What speaks against shipping a point."""
    warning = standing(found, point)
    if warning:
        say(console, f"\nWARNING: {warning}.", style="bold red")
    if beyond(found.record, point):
        say(console, f"\nIt {beyond(found.record, point)}.", style="bold yellow")
    if not point.verified:
        say(console, f"\nIt is not verified on test data; verify it:\n  {verifying(found, point)}", style="bold yellow")


def _say_shipped(console: Console, found: Front, to: Path, card: Path) -> None:
    """What was written where, and how to use it."""
    form = find_format(found.format)
    if found.format != OWN:
        if found.format_note:
            say(console, f"\n{found.format_note}")
        shipped = f"Written to {to} for {found.format}, {byte_count(form.size_bytes(to))}"
    else:
        from autoprune.artifacts.artifact import folder_bytes  # here, because it waits for numpy

        whole = byte_count(folder_bytes(to))
        shipped = f"Shipped to {to}, {byte_count(form.size_bytes(to))} to answer and {whole} in all"
    say(console, f"\n{shipped}, with what is known of it in {card}. Use it:")
    console.print(f"  {form.use(to, str(to)).command}", highlight=False, markup=False, soft_wrap=True)
