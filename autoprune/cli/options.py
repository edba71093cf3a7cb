"""The options that verbs share. A verb is a function of studies and limits; here its command line is made."""

from __future__ import annotations

import argparse
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin, get_type_hints

from autoprune.artifacts.formats import OWN, format_names
from autoprune.errors import AutopruneError, nearest
from autoprune.fronts.limits import Limits
from autoprune.overrides import at_home
from autoprune.record.record import Record


@dataclass(frozen=True)
class Argument:
    """How a parameter is given by its place.

    Attributes:
        help: what it is, a sentence.
        shown: what stands for it in the help.
    """

    help: str
    shown: str


@dataclass(frozen=True)
class Option:
    """How a parameter is given by a flag. A list is given by several, and what is true by the flag alone.

    Attributes:
        help: what it is, a sentence.
        flag: by default `--` and the parameter's name.
        shown: what stands for its value in the help; by default what kind of value it is.
        most: of a whole number from 0 on.
    """

    help: str
    flag: str = ""
    shown: str = ""
    most: int | None = None


Study = Annotated[
    Record, Argument("Name of the study (study.name), a folder under --runs; or the path of its folder.", "STUDY")
]

RUNS = Option("Where studies live (study.dir).")

SHOWN = {str: "TEXT", int: "NUMBER", Path: "PATH"}
"""What stands for a value in the help."""

OPTIONS: dict[str, tuple[Any, Option, Any]] = {
    "floors": (
        list[str],
        Option(
            "A floor in place of the study's, such as ndcg@20=0.97x, or 0.97x:0.95 to be sure; repeatable.",
            flag="--floor",
        ),
        [],
    ),
    "ceilings": (
        list[str],
        Option("A ceiling in place of the study's, such as latency_ms=0.5x; repeatable.", flag="--max"),
        [],
    ),
    "profile": (
        str | None,
        Option(
            "A requirements profile in place of the study's: its name, or a YAML file.", flag="--for", shown="PROFILE"
        ),
        None,
    ),
    "prefer": (
        str | None,
        Option("quality, size, latency or index: what is picked; by default what the profile prefers."),
        None,
    ),
    "format": (
        str,
        Option(
            f"{', '.join(format_names()[:-1])} or {format_names()[-1]}: only candidates that have such a form. "
            "sentence-transformers takes runtime=torch, all heads, FFNs of one width, no codes; onnx runtime=onnx.",
            shown="FORMAT",
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


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What the command line of a verb takes: of a kind, given so, with a default (`inspect.Parameter.empty`: none)."""

    name: str
    kind: Any
    given: Argument | Option
    default: Any


def run_verb(verb: Callable[..., None], words: Sequence[str]) -> None:
    """Runs a verb: with studies in place of their names, limits in place of options, and --runs.

    Args:
        verb: its parameters of the types `Study` and `Bounds` (`Preferred`, `Everything`) are filled in; all others
            are annotated with how they are given. None need be called `runs`.
        words: what was typed behind its name.

    Raises:
        AutopruneError: the words cannot be read.
    """
    parser = Parser(verb)
    read = parser.read([*words])
    found: dict[str, Any] = {name: at_home(one) if isinstance(one, Path) else one for name, one in read.items()}
    hints, filled = get_type_hints(verb, include_extras=True), dict[str, Any]()
    for name in inspect.signature(verb).parameters:
        kind, *fields = get_args(hints[name])
        if kind is Record:
            filled[name] = find_study(found[name], found["runs"])
        elif kind is Limits:
            filled[name] = Limits(**{field: found[field] for field in fields})
        else:
            filled[name] = found[name]
    verb(**filled)


def parameters(verb: Callable[..., None]) -> Iterator[Parameter]:
    """What the command line of a verb takes, in order: options stand where it has its limits, --runs at the end."""
    hints = get_type_hints(verb, include_extras=True)
    signature = inspect.signature(verb).parameters
    for name, own in signature.items():
        kind, *given = get_args(hints[name])
        if kind is Limits:
            for field in given:
                annotated, option, default = OPTIONS[field]
                yield Parameter(name=field, kind=annotated, given=option, default=default)
        else:
            yield Parameter(name=name, kind=str if kind is Record else kind, given=given[0], default=own.default)
    if "runs" not in signature:
        yield Parameter(name="runs", kind=Path, given=RUNS, default=Path("runs"))


class Parser(argparse.ArgumentParser):
    """The command line of a verb. Errors are ours, and are told as all others are."""

    def __init__(self, verb: Callable[..., None]) -> None:
        super().__init__(
            prog=f"autoprune {verb.__name__}",
            description=inspect.getdoc(verb),
            formatter_class=_Paragraphs,
            allow_abbrev=False,
        )
        self.flags: list[str] = []
        for one in parameters(verb):
            self._take(one)

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """The parameters' values by name.

        Raises:
            AutopruneError: the words are not what the verb takes.
            SystemExit: they ask for help, which is printed.
        """
        found, rest = self.parse_known_intermixed_args(words)  # NUMBER may stand behind options
        if rest:
            self._refuse(min(rest, key=lambda word: not word.startswith("-")))  # an option, and not its value
        return vars(found)

    def error(self, message: str) -> NoReturn:
        raise AutopruneError(f"{self.prog.split()[-1]}: {message}. {self.prog} --help explains.")

    def _refuse(self, word: str) -> NoReturn:
        flag = word.partition("=")[0]
        if word.startswith("-"):
            self.error(f"there is no option {flag}. {nearest(flag, self.flags)}".rstrip("."))
        self.error(f"nothing is known to do with {word!r}")

    def _take(self, one: Parameter) -> None:
        required = one.default is inspect.Parameter.empty
        told: dict[str, Any] = {} if required else {"default": one.default}
        default = "" if required or one.default in (None, False, []) else f" [{one.default}]"
        told["help"] = f"{one.given.help}{default}".replace("%", "%%")
        (kind,) = {*(get_args(one.kind) or (one.kind,))} - {types.NoneType}
        if isinstance(one.given, Argument):
            told |= {"nargs": None if required else "?", "metavar": one.given.shown}
            self.add_argument(one.name, type=_whole() if kind is int else kind, **told)
            return
        flag = one.given.flag or f"--{one.name.rstrip('_')}"
        self.flags.append(flag)
        if kind is bool:
            self.add_argument(flag, dest=one.name, action="store_true", **told)
            return
        told |= {"required": required, "metavar": one.given.shown or SHOWN[kind]}
        told["action"] = "append" if get_origin(one.kind) is list else "store"
        self.add_argument(flag, dest=one.name, type=_whole(one.given.most) if kind is int else kind, **told)


class _Paragraphs(argparse.HelpFormatter):
    """Keeps the paragraphs of a docstring apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))


def _whole(most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number; from 0 to `most`, if that is given."""
    wanted = "a whole number" if most is None else f"a whole number from 0 to {most}"

    def read(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or (most is not None and not 0 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{wanted} must be given, but got {text!r}")
        return int(text)

    return read


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
