"""The command lines of the verbs, made from the signatures of their functions, and the options that verbs share."""

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
    """A positional argument.

    Attributes:
        help: its description, a sentence.
        shown: its placeholder in the help.
    """

    help: str
    shown: str


@dataclass(frozen=True)
class Option:
    """A flag. A list takes the flag several times; a boolean takes it without a value.

    Attributes:
        help: its description, a sentence.
        flag: by default `--` and the parameter's name.
        shown: the placeholder of its value in the help; by default the kind of value.
        most: the largest value of a whole number from 0 on.
    """

    help: str
    flag: str = ""
    shown: str = ""
    most: int | None = None


Study = Annotated[
    Record, Argument("Name of the study (study.name, a folder under --runs), or the path of its folder.", "STUDY")
]

RUNS = Option("Folder of all studies (study.dir).")

SHOWN = {str: "TEXT", int: "NUMBER", Path: "PATH"}
"""The placeholder of a value in the help, by type."""

OPTIONS: dict[str, tuple[Any, Option, Any]] = {
    "floors": (
        list[str],
        Option(
            "A floor that replaces the study's, such as ndcg@20=0.97x, or 0.97x:0.95 (95 % confidence); repeatable.",
            flag="--floor",
        ),
        [],
    ),
    "ceilings": (
        list[str],
        Option("A ceiling that replaces the study's, such as latency_ms=0.5x; repeatable.", flag="--max"),
        [],
    ),
    "profile": (
        str | None,
        Option(
            "A requirements profile that replaces the study's: its name, or a YAML file.", flag="--for", shown="PROFILE"
        ),
        None,
    ),
    "prefer": (
        str | None,
        Option("quality, size, latency or index: the pick is the best in it; default: what the profile prefers."),
        None,
    ),
    "format": (
        str,
        Option(
            f"{', '.join(format_names()[:-1])} or {format_names()[-1]}: only candidates that this format can hold. "
            "sentence-transformers: runtime=torch, no heads cut, FFNs of one width, no codes; onnx: runtime=onnx.",
            shown="FORMAT",
        ),
        OWN,
    ),
}
"""The fields of `Limits`: type, option and default of each."""

Bounds = Annotated[Limits, "floors", "ceilings", "profile"]
"""Limits of a verb that takes requirements only."""

Preferred = Annotated[Limits, "floors", "ceilings", "profile", "prefer"]
"""Limits of a verb that also takes what to pick."""

Everything = Annotated[Limits, "floors", "ceilings", "profile", "prefer", "format"]
"""Limits of a verb that takes all of them."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of a verb's command line: type, how it is given, default (`inspect.Parameter.empty`: none)."""

    name: str
    kind: Any
    given: Argument | Option
    default: Any


def run_verb(verb: Callable[..., None], words: Sequence[str]) -> None:
    """Runs a verb; it gets studies instead of their names, and limits instead of options.

    Args:
        verb: its parameters of the types `Study` and `Bounds` (`Preferred`, `Everything`) are filled in; all others
            are annotated with an `Argument` or an `Option`. `--runs` is added if no parameter is called `runs`.
        words: what was typed after the name of the verb.

    Raises:
        AutopruneError: the words cannot be read.
    """
    parser = Parser(verb)
    typed = parser.read([*words])
    values: dict[str, Any] = {name: at_home(one) if isinstance(one, Path) else one for name, one in typed.items()}
    hints, filled = get_type_hints(verb, include_extras=True), dict[str, Any]()
    for name in inspect.signature(verb).parameters:
        kind, *fields = get_args(hints[name])
        if kind is Record:
            filled[name] = find_study(values[name], values["runs"])
        elif kind is Limits:
            filled[name] = Limits(**{field: values[field] for field in fields})
        else:
            filled[name] = values[name]
    verb(**filled)


def parameters(verb: Callable[..., None]) -> Iterator[Parameter]:
    """The parameters of a verb's command line, in order: its limits become their options, --runs comes last."""
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
    """The command line of a verb. It raises `AutopruneError`, as everything else does."""

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
            AutopruneError: the verb does not take these words.
            SystemExit: the words ask for help, which is printed.
        """
        values, rest = self.parse_known_intermixed_args(words)  # NUMBER may follow options
        if rest:
            self._refuse(min(rest, key=lambda word: not word.startswith("-")))  # name the option, not its value
        return vars(values)

    def error(self, message: str) -> NoReturn:
        raise AutopruneError(f"{self.prog.split()[-1]}: {message}. See {self.prog} --help.")

    def _refuse(self, word: str) -> NoReturn:
        flag = word.partition("=")[0]
        if word.startswith("-"):
            self.error(f"there is no option {flag}. {nearest(flag, self.flags)}".rstrip("."))
        self.error(f"unexpected argument {word!r}")

    def _take(self, one: Parameter) -> None:
        required = one.default is inspect.Parameter.empty
        settings: dict[str, Any] = {} if required else {"default": one.default}
        default = "" if required or one.default in (None, False, []) else f" [{one.default}]"
        settings["help"] = f"{one.given.help}{default}".replace("%", "%%")
        (kind,) = {*(get_args(one.kind) or (one.kind,))} - {types.NoneType}
        if isinstance(one.given, Argument):
            settings |= {"nargs": None if required else "?", "metavar": one.given.shown}
            self.add_argument(one.name, type=_whole() if kind is int else kind, **settings)
            return
        flag = one.given.flag or f"--{one.name.rstrip('_')}"
        self.flags.append(flag)
        if kind is bool:
            self.add_argument(flag, dest=one.name, action="store_true", **settings)
            return
        settings |= {"required": required, "metavar": one.given.shown or SHOWN[kind]}
        settings["action"] = "append" if get_origin(one.kind) is list else "store"
        self.add_argument(flag, dest=one.name, type=_whole(one.given.most) if kind is int else kind, **settings)


class _Paragraphs(argparse.HelpFormatter):
    """Prints the paragraphs of a docstring as paragraphs."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))


def _whole(most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers: from 0 to `most`, if that is given."""
    wanted = "a whole number" if most is None else f"a whole number from 0 to {most}"

    def read(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or (most is not None and not 0 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{wanted} must be given, but got {text!r}")
        return int(text)

    return read


def find_study(study: str, runs: Path) -> Record:
    """A study by its name under --runs, or by the path of its folder, which a shell can complete.

    Raises:
        AutopruneError: there is none.
    """
    named, path = runs / study, Path(study)
    if not (named / "study.yaml").is_file() and (
        (path / "study.yaml").is_file() or (len(path.parts) > 1 and not named.parent.is_dir())
    ):
        named = path if path.name not in ("", "..") else path.resolve()
    return Record(named)
