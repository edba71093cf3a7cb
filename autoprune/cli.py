"""The command line: `autoprune key=value …` searches, `autoprune VERB STUDY` reads what was found."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from autoprune.artifacts.formats import OWN, check_format, find_format, format_names
from autoprune.errors import AutopruneError, nearest
from autoprune.fronts.front import Front
from autoprune.fronts.profiles import load_profile
from autoprune.record.archive import ROUNDS
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views.commands import placeless, verb_command
from autoprune.views.front_json import front_facts, ordered
from autoprune.views.phrases import beyond, byte_count, standing, verifying
from autoprune.views.terminal import (
    Watch,
    earlier,
    exit_codes,
    print_comparison,
    print_front,
    print_point,
    print_verified,
    say,
    terminal,
)

HELP = """\
autoprune: search for the smallest and fastest form of an embedding model that is still good enough.

Search (every key can be set; what is composed: autoprune --cfg job):

  autoprune task=movielens                                        the defaults: 40 trials, accuracy_critical
  autoprune task=movielens requirements=latency_sensitive study.trials=100 study.name=fast
  autoprune task=interactions task.data.path=ratings.csv          your own: .csv, .tsv, .inter, .parquet, a folder
  autoprune task=movielens space.encode.epochs=0 'space.prune.method.choose.dims.sparsity.float=[0.5,0.9]'
  autoprune task=movielens requirements.quality.drop=3% requirements.size_bytes.max=0.2x
  autoprune task=encoder task.texts=corpus.txt                    a sentence encoder, on texts of your own
  autoprune task=stsb task.data.path=stsb/ requirements.quality.drop=1%
  autoprune --multirun task=movielens requirements=accuracy_critical,latency_sensitive study.seed=1,2

  The same command resumes a study that was stopped, or goes on with it under a larger study.trials.

{groups}
  study.*        name, trials, minutes, seed, objectives, sampler, latency_seconds, device, dir
  --config-dir   a folder of your own with space/, requirements/ … beside the shipped ones

Look and choose:

  autoprune front STUDY                                           the Pareto front, with what profiles would pick
  autoprune front STUDY --floor ndcg@20=0.97x --max latency_ms=0.5x   under other limits: nothing is trained
  autoprune front STUDY --sort size --all                         (--csv, --json: for programs)
  autoprune verify STUDY [--rounds 5]                             measure the front again, on test data, timed longer
  autoprune show STUDY NUMBER                                     one candidate: recipe, measurements, margins
  autoprune compare STUDY STUDY                                   two searches of one task: whose front beats whose
  autoprune pick STUDY --for PROFILE --to DIR                     copy the artifact that fits best, with a model card
  autoprune pick STUDY --format sentence-transformers --to DIR    the best that stock sentence-transformers loads
  autoprune report STUDY                                          one HTML file to look at the front in, offline
  autoprune record STUDY --to DIR                                 keep what was found: study.yaml, front.csv, front.png
  autoprune dashboard STUDY                                       all candidates in optuna-dashboard, in a browser
  python -c "import autoprune; print(autoprune.load('DIR').recommend(user=42, k=10))"

Each verb explains itself: autoprune front --help.  Hydra's own help: autoprune --hydra-help.
"""

STOPPED = 130
"""The exit code after Ctrl-C."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        help="Name of the study (study.name), a folder under --runs; or the path of its folder.", metavar="STUDY"
    ),
]
Runs = Annotated[Path, typer.Option(help="Where studies live (study.dir).")]
Floors = Annotated[
    list[str], typer.Option("--floor", help="A floor in place of the study's, such as ndcg@20=0.97x; repeatable.")
]
Ceilings = Annotated[
    list[str], typer.Option("--max", help="A ceiling in place of the study's, such as latency_ms=0.5x; repeatable.")
]
Profile = Annotated[
    str | None, typer.Option("--for", help="A requirements profile in place of the study's.", metavar="PROFILE")
]
Prefer = Annotated[
    str | None, typer.Option(help="quality, size or latency: what is picked; by default what the profile prefers.")
]

Format = Annotated[
    str,
    typer.Option(
        "--format",
        help=f"{' or '.join(format_names())}, which an unmodified SentenceTransformer('DIR') loads: only candidates "
        "that its configs express (runtime torch, all heads, FFNs of one width, no codes).",
        metavar="FORMAT",
    ),
]


@app.command()
def front(
    study: Name,
    floor: Floors = [],  # noqa: B006  # typer reads the default, nothing changes it
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    prefer: Prefer = None,
    format_: Format = OWN,
    sort: Annotated[
        str, typer.Option(help="quality, size, latency or any reading, such as recall@20.tail; the best comes first.")
    ] = "quality",
    all_: Annotated[bool, typer.Option("--all", help="Show every point of a long front.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values instead of a table.")] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON; autoprune/facts.py says what stands in it.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Show the Pareto front: the baseline first, then every candidate that no other feasible one beats.

    What was verified is shown by its verified values, on test data, and stays only if it still holds. Where nothing
    meets the requirements, it is said what was missed, by how much, and what would be enough.
    """
    if csv and json_:
        raise AutopruneError("--csv and --json: one of them can be printed at a time; leave the other out.")
    record = _record(study, runs)
    found = _front(record, floor, max_, for_, prefer, format_)
    if json_:
        sys.stdout.write(json.dumps(front_facts(found, sort=sort), indent=2, allow_nan=False) + "\n")
    elif csv:
        if not len(found):
            sys.stderr.write(f"{found.explain_empty()}\n")
        numbers = [point.number for point in ordered(found, record, sort)]
        sys.stdout.write(found.to_frame().loc[numbers].to_csv())
    else:
        console = terminal()
        print_front(console, found, sort=sort, everything=all_)
        if found.format_words:
            say(console, f"\n{found.format_words}")


@app.command()
def verify(
    study: Name,
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    prefer: Prefer = None,
    format_: Format = OWN,
    all_: Annotated[bool, typer.Option("--all", help="Verify every candidate, not the finalists alone.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what was verified on this machine.")] = False,
    rounds: Annotated[
        int, typer.Option(help="Processes that time each artifact; an interval takes at least 2.")
    ] = ROUNDS,
    runs: Runs = Path("runs"),
) -> None:
    """Measure the finalists once more: quality on test data that the search never saw, latency timed longer.

    Finalists are the baseline, the presets, the front and the profiles' picks. What was verified on this machine before
    is kept, so that an interrupted verification goes on where it stopped. At the end: what fell, and which profiles now
    pick another one.
    """
    from autoprune.api import verify_study  # here, because it takes seconds to import

    record, console = _record(study, runs), terminal()
    before = earlier(record)
    with Watch(console) as watch:
        found = verify_study(
            record.name,
            runs=record.folder.parent,
            floors=floor,
            ceilings=max_,
            profile=for_,
            prefer=prefer,
            format=check_format(format_),
            everything=all_,
            again=again,
            rounds=rounds,
            working=watch.working,
        )
    print_verified(console, found, everything=all_, before=before)


@app.command()
def record(
    study: Name,
    to: Annotated[Path, typer.Option(help="Folder to write to, such as studies/NAME.")],
    runs: Runs = Path("runs"),
) -> None:
    """Write what a recorded study keeps: study.yaml, front.csv, front.png. A README.md is yours: it is left alone."""
    from autoprune.views.snapshot import write  # here, because plots take a second to import

    found = _record(study, runs).front()
    for path in write(found, to):
        sys.stdout.write(f"wrote {path}\n")
    unsaid = [f"verify the front on test data: {verb_command(found.record, 'verify')}"]
    unsaid *= not found.record.baseline.verified
    if not (to / "README.md").exists():
        unsaid.append(f"write {to / 'README.md'}: what was asked, what was learned (what failed too), on which machine")
    for line in unsaid:
        sys.stdout.write(f"still to do: {line}\n")


@app.command()
def report(
    study: Name,
    to: Annotated[Path | None, typer.Option(help="File to write; by default report.html beside the study.")] = None,
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    prefer: Prefer = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write one HTML file that opens offline: the plots, limits to move, the pick, every candidate."""
    from autoprune.views.report import write  # here, because plots take a second to import

    sys.stdout.write(f"wrote {write(_front(_record(study, runs), floor, max_, for_, prefer), to)}\n")


@app.command()
def show(
    study: Name,
    number: Annotated[int, typer.Argument(help="Number of the candidate, as in the front.")],
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show one candidate: recipe, measurements, margins to the requirements, the command that makes it again."""
    record = _record(study, runs)
    print_point(terminal(), _front(record, floor, max_, for_), record.point(number))


@app.command()
def compare(
    study: Name,
    other: Annotated[str, typer.Argument(help="Name of another study of the same task.", metavar="STUDY")],
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: the attributes of Comparison in autoprune/compare.py.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Compare two searches of one task on one data set: whose front beats whose, and what each gives for what.

    By verified values where both fronts are verified; latency only where one machine timed both.
    """
    from autoprune.views.compare import compare as compared  # here, beside a verb of that name

    found = compared(*(_front(_record(name, runs), floor, max_, for_) for name in (study, other)))
    if json_:
        sys.stdout.write(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        print_comparison(terminal(), found)


@app.command()
def pick(
    study: Name,
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    number: Annotated[int | None, typer.Argument(help="Number of the candidate; left out, the best that fits.")] = None,
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    prefer: Prefer = None,
    format_: Format = OWN,
    runs: Runs = Path("runs"),
) -> None:
    """Copy the artifact that fits best to a folder, ready to ship, with a model card (README.md) in it.

    With --format sentence-transformers a sentence encoder becomes a stock folder that needs no autoprune: the best of
    those candidates that have such a form; where there is none, it is said why, and what search finds one.
    """
    from autoprune.views.card import write_card

    record = _record(study, runs)
    if to.exists():
        raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
    found = _front(record, floor, max_, for_, prefer, format_)
    point = _chosen(found) if number is None else record.point(number)
    if point.candidate.rejected:
        raise AutopruneError(f"candidate {number} was rejected and has no artifact; pick another.")
    obstacles = point.obstacles(format_)
    if obstacles:
        why = ", and ".join(one.reason for one in obstacles)
        way = "Pick another, or leave the number out."
        raise AutopruneError(f"candidate {number} can't be written in the format {format_}: {why}. {way}")
    try:
        point.save(to, format=format_)
    except AutopruneError as error:
        raise AutopruneError(f"{error}\nOr make it again:\n  {record.command(point)}") from error
    card = write_card(found, point, to, made_by=placeless(["autoprune", *sys.argv[1:]]))
    console = terminal()
    print_point(console, found, point, everything=False)
    warning = standing(found, point)
    if warning:
        say(console, f"\nWARNING: {warning}.", style="bold red")
    if beyond(record, point):
        say(console, f"\nIt {beyond(record, point)}.", style="bold yellow")
    if not point.verified:
        say(console, f"\nIt is not verified on test data: {verifying(found, point)}", style="bold yellow")
    form = find_format(format_)
    if format_ != OWN:
        if found.format_words:
            say(console, f"\n{found.format_words}")
        shipped = f"Written to {to} for {format_}, {byte_count(form.size_bytes(to))}"
        ask = f"; print({form.example(to)})"
    else:
        shipped, ask = f"Shipped to {to}", ""
    say(console, f"\n{shipped}, with what is known of it in {card}. Use it:")
    code = form.loading.format(folder=str(to))
    console.print(f'  python -c "{code}{ask}"', highlight=False, soft_wrap=True)


@app.command()
def dashboard(
    study: Name,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines look.")] = "127.0.0.1",
    floor: Floors = [],  # noqa: B006  # as above
    max_: Ceilings = [],  # noqa: B006  # as above
    for_: Profile = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show every candidate in optuna-dashboard: constraints, recipes, picks. It follows a search that is running."""
    from autoprune.views.dashboard import Dashboard, serve  # here, because it takes a second to import Optuna

    record = _record(study, runs)

    def ready(address: str) -> None:
        sys.stdout.write(f"{address}\nA read-only mirror of {record.name!r}; Ctrl-C ends it.\n")
        sys.stdout.flush()

    shown = Dashboard(lambda: _front(Record(record.folder), floor, max_, for_), record.archive.path)
    serve(shown, host=host, port=port, ready=ready)


def main() -> None:
    """Entry point: exits with 0, with 2 for what a person can mend, with 130 after Ctrl-C."""
    words = sys.argv[1:]
    verbs = [command.callback.__name__ for command in app.registered_commands if command.callback]
    with exit_codes():
        if not words or words[0] in ("-h", "--help"):
            sys.stdout.write(HELP.replace("{groups}", _groups()))
        elif words[0] in verbs:
            try:
                app()
            except SystemExit as ended:
                if ended.code == STOPPED:  # Typer turns Ctrl-C into it, and says nothing
                    raise KeyboardInterrupt from ended
                raise
        elif words[0].startswith(("-", "~")) or "=" in words[0]:
            from autoprune.app import run  # here, because it takes seconds to import all that a search needs

            run(words)
        else:
            raise AutopruneError(
                f"{words[0]!r} is neither a verb nor key=value. {nearest(words[0], verbs)} autoprune --help explains."
            )


def _groups() -> str:
    """The folders of conf/ that a word on the command line chooses from, a line each."""
    found = {
        folder.name: sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
        for folder in resources.files("autoprune.conf").iterdir()
        if folder.is_dir()
    }
    chosen = {name: options for name, options in sorted(found.items()) if len(options) > 1}
    return "\n".join(f"  {name:<14} {' | '.join(options)}" for name, options in chosen.items())


def _record(study: str, runs: Path) -> Record:
    """A study by its name under --runs, or by the path of its folder, as a shell completes it."""
    named, path = runs / study, Path(study)
    if not (named / "study.yaml").is_file() and (
        (path / "study.yaml").is_file() or (len(path.parts) > 1 and not named.parent.is_dir())
    ):
        named = path if path.name not in ("", "..") else path.resolve()
    return Record(named)


def _chosen(found: Front) -> Point:
    """The pick of a front; in another format than our own never the dense model for want of candidates."""
    if found.format != OWN and not any(point.number for point in found.candidates):
        raise AutopruneError(f"study {found.record.name!r}: {found.format_words or found.explain_empty()}")
    try:
        return found.pick()
    except AutopruneError as error:
        raise AutopruneError(f"{error}\n{found.format_words}".rstrip()) from error


def _front(
    record: Record,
    floors: list[str],
    ceilings: list[str],
    profile: str | None,
    prefer: str | None = None,
    format_: str = OWN,
) -> Front:
    """The front under what was asked for, which it can tell again."""
    given: dict[str, list[str] | list[str | None]] = {
        "--for": [profile],
        "--floor": floors,
        "--max": ceilings,
        "--prefer": [prefer],
        "--format": [format_ if format_ != OWN else None],
    }
    flags = [word for flag, values in given.items() for value in values if value for word in (flag, value)]
    requirements = record.requirements(load_profile(profile) if profile else None)
    return record.front(record.with_limits(requirements, floors, ceilings, prefer=prefer), flags, format=format_)
