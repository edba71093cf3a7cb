"""The options that verbs share. A verb is a function of studies and limits; here its command line is made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from autoprune.artifacts.formats import OWN, format_names
from autoprune.fronts.limits import Limits
from autoprune.overrides import at_home
from autoprune.record.record import Record

Study = Annotated[
    Record,
    typer.Argument(
        help="Name of the study (study.name), a folder under --runs; or the path of its folder.", metavar="STUDY"
    ),
]

RUNS = typer.Option(help="Where studies live (study.dir).")

OPTIONS: dict[str, tuple[Any, OptionInfo, Any]] = {
    "floors": (
        list[str],
        typer.Option(
            "--floor",
            help="A floor in place of the study's, such as ndcg@20=0.97x, or 0.97x:0.95 to be sure; repeatable.",
        ),
        [],
    ),
    "ceilings": (
        list[str],
        typer.Option("--max", help="A ceiling in place of the study's, such as latency_ms=0.5x; repeatable."),
        [],
    ),
    "profile": (
        str | None,
        typer.Option("--for", help="A requirements profile in place of the study's.", metavar="PROFILE"),
        None,
    ),
    "prefer": (
        str | None,
        typer.Option(
            "--prefer", help="quality, size, latency or index: what is picked; by default what the profile prefers."
        ),
        None,
    ),
    "format": (
        str,
        typer.Option(
            "--format",
            help=f"{', '.join(format_names()[:-1])} or {format_names()[-1]}: only candidates that have such a form. "
            "sentence-transformers takes runtime=torch, all heads, FFNs of one width, no codes; onnx runtime=onnx.",
            metavar="FORMAT",
        ),
        OWN,
    ),
}
"""The fields of `Limits`: type, option and default of each."""

Bounds = Annotated[Limits, "floors", "ceilings", "profile"]
"""Limits of which a verb takes what must hold."""

Preferred = Annotated[Limits, "floors", "ceilings", "profile", "prefer"]
"""Limits of which a verb takes what is picked as well."""

Everything = Annotated[Limits, "floors", "ceilings", "profile", "prefer", "format"]
"""Limits of which a verb takes all."""


def with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb as Typer wants it: with names in place of studies, options in place of limits, and --runs.

    Each stands where the verb has its parameter, --runs at the end; all other parameters are the verb's own.

    Args:
        verb: its parameters of the types `Study` and `Bounds` (`Preferred`, `Everything`) are filled in.
    """
    hints = get_type_hints(verb, include_extras=True)
    held = {name: get_args(hint) for name, hint in hints.items() if get_args(hint)[:1] in ((Record,), (Limits,))}

    @functools.wraps(verb)
    def command(*, runs: Path, **given: Any) -> None:
        filled: dict[str, Record | Limits] = {}
        runs, given = (
            at_home(runs),
            {name: at_home(one) if isinstance(one, Path) else one for name, one in given.items()},
        )
        for name, (kind, *fields) in held.items():
            if kind is Record:
                filled[name] = find_study(given.pop(name), runs)
            else:
                filled[name] = Limits(**{field: given.pop(field) for field in fields})
        verb(**given, **filled)

    shown = list(_parameters(inspect.signature(verb), hints, held))
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what inspect looks for
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return command


def _parameters(
    signature: inspect.Signature, hints: Mapping[str, Any], held: Mapping[str, tuple[Any, ...]]
) -> Iterator[inspect.Parameter]:
    """What the command line of a verb takes, in order."""

    def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    for name, own in signature.parameters.items():
        kind, *rest = held.get(name, (None,))
        if kind is Limits:
            for field in rest:
                annotation, option, default = OPTIONS[field]
                yield parameter(field, Annotated[annotation, option], default)
        else:
            yield parameter(name, Annotated[str, rest[0]] if kind is Record else hints[name], own.default)
    yield parameter("runs", Annotated[Path, RUNS], Path("runs"))


def find_study(study: str, runs: Path) -> Record:
    """A study by its name under --runs, or by the path of its folder, as a shell completes it.

    Raises:
        AutopruneError: there is none.
    """
    named, path = runs / study, Path(study)
    if not (named / "study.yaml").is_file() and (
        (path / "study.yaml").is_file() or (len(path.parts) > 1 and not named.parent.is_dir())
    ):
        named = path if path.name not in ("", "..") else path.resolve()
    return Record(named)
