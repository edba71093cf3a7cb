"""What people type, made readable for Hydra's grammar of overrides, which reads few characters without quotes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Sweep
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from autoprune.errors import AutopruneError
from autoprune.overrides import BARE, OVERRIDE, RESERVED, is_quoted, key_of, literal, quoted, several

TAKEN_OUT = re.compile(r"~[\w@/.]+(=|$)")

GROUPS = ("task", "space", "presets", "requirements", "study", "executor")
"""Keys whose value names a file in the folder of conf/ of that name; the sections of a config."""

FREE = re.compile(r"(requirements|presets)\.")
"""Sections that hold what people name: a key need not be there to be set."""

REQUIREMENT = re.compile(
    r"\+{0,2}requirements\.(\w+[@.][\w@.]+?)"
    r"(?:\.(drop|min|max|confidence)=(.*)|(?<!\.drop)(?<!\.min)(?<!\.max)(?<!\.confidence)=(null))"
)
"""A requirement on a metric or slice whose name Hydra cannot parse, or that nothing is asked of it."""

ESCAPED = re.compile(r"\\[\\()\[\]{}:=, \t]")
"""What stands for one character in Hydra's grammar, outside quotes."""

MANY = ("--multirun", "-m")

CONFIG_DIR = ("--config-dir", "-cd")


class Kind(Enum):
    """What a key takes."""

    TEXT = "one text, a path for example"
    TEXTS = "several texts"
    NAME = "the name of one file"
    ONE = "one number, or the like"
    ANY = "one value or several"


def is_override(argument: str) -> bool:
    """Whether an argument sets a key or takes one out, and is no flag."""
    return bool(OVERRIDE.fullmatch(argument) or TAKEN_OUT.match(argument))


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses what is no override, and what sets a whole section.

    Raises:
        AutopruneError: an argument is neither a flag, nor belongs to one, nor key=value.
    """
    for argument in arguments:
        if not argument.startswith("-") and "=" in argument and not is_override(argument):
            raise AutopruneError(f"{argument!r}: an override is written key=value. autoprune --help explains.")
        if argument.startswith("~") and not is_override(argument):
            raise AutopruneError(f"{argument!r}: ~ and a key take that key out, as in ~space.prune.")
        if argument.startswith("~") and argument[1:].partition("=")[0] in GROUPS:
            raise AutopruneError(f"{argument}: a section cannot be taken out; take out single keys of it.")
        if key_of(argument) in GROUPS and argument.startswith("++"):
            raise AutopruneError(f"{argument!r}: the name of a file is chosen without ++.")
        if key_of(argument) in GROUPS and re.match(r"[\[{]|(null)?$", argument.partition("=")[2], flags=re.IGNORECASE):
            raise AutopruneError(
                f"{argument!r}: the name of a file in its folder of conf/ is chosen here; set single keys one by one."
            )


def readable(override: str, kind: Callable[[str], Kind], *, many: bool) -> str:
    """The override as Hydra can read it: texts in quotes, several values where a key takes several in brackets.

    What has been quoted or escaped for Hydra stays as it is, and so does `${…}`, for which OmegaConf puts a value.

    Args:
        kind: of a key.
        many: whether several values after commas are several searches.

    Raises:
        AutopruneError: there are several values of what takes one, or brackets that do not fit.
    """
    match = OVERRIDE.fullmatch(override)
    if match is None or (BARE.fullmatch(match["value"]) and match["value"].lower() not in RESERVED):
        return override  # it reads the same with and without quotes
    value, taken = match["value"], kind(match["key"])
    return f"{match['mark']}{match['key']}={_value(value, taken, key=match['key'], many=many)}"


def _value(value: str, kind: Kind, *, key: str, many: bool) -> str:
    read = _read(value)
    swept = isinstance(read, Sweep | Glob)
    listed = isinstance(read, ChoiceSweep) and read.simple_form
    if read is None or (many and swept and not (listed and kind is Kind.TEXT)):
        return value
    if kind is Kind.TEXT:
        return ",".join(_text(text) for text in several(value)) if many else _text(value)
    if kind is Kind.TEXTS:
        within = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        return value if isinstance(read, list) else f"[{','.join(_text(text) for text in several(within))}]"
    if swept and (kind in (Kind.ONE, Kind.NAME) or not listed):
        raise AutopruneError(
            f"{key}={value}: one value is taken; to search with each of several in turn, add --multirun."
        )
    if kind is Kind.NAME:
        return _text(value)
    if read is UNREADABLE and value.startswith(("[", "{")):
        raise AutopruneError(f"{key}={value}: the brackets do not fit, or a text within them needs quotes.")
    return f"[{value}]" if listed else _text(value) if read is UNREADABLE else value


def _text(value: str) -> str:
    """A text in quotes, unless it can do without, or has been quoted or escaped for Hydra."""
    read = _read(value)
    if read is None or (isinstance(read, str) and (read == value or is_quoted(value) or ESCAPED.search(value))):
        return value
    return quoted(value if _interpolates(value) else literal(value))


def _interpolates(value: str) -> bool:
    """Whether OmegaConf can read every `${…}` in a text."""
    try:
        OmegaConf.create({"text": value})
    except OmegaConfBaseException:
        return False
    return True


UNREADABLE = object()
"""In place of a value that Hydra cannot read."""


def _read(value: str) -> Any:
    """The value that Hydra reads; a `Sweep` or a `Glob` where these are several; `UNREADABLE`."""
    try:
        return _parser().parse_override(f"key={value}").value()
    except (HydraException, ValueError, RecursionError):
        return UNREADABLE


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def overridden(overrides: Sequence[str], key: str) -> Any:
    """The value that a list of overrides ends up giving a key; None where it gives none."""
    given = [override for override in overrides if key_of(override) == key]
    return _read(given[-1].partition("=")[2]) if given else None


def config_dir(arguments: Sequence[str]) -> str | None:
    """The folder that `--config-dir` (`-cd`) names on a command line; None where it is not given."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in CONFIG_DIR:
            found = value if equals else following
    return found


def check_flags(arguments: Sequence[str]) -> None:
    """Refuses flags that Hydra does not have, or that would run what somebody else has pickled.

    Args:
        arguments: flags first.

    Raises:
        AutopruneError: in place of the pages that a parser prints.
    """

    def refuse(message: str) -> NoReturn:
        raise AutopruneError(f"{message}. autoprune --help explains; of Hydra's own flags autoprune --hydra-help.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # where argparse ends the process
    flags = parser.parse_args(list(arguments))
    if flags.resolve and not (flags.cfg or flags.help):
        refuse("--resolve: it goes with --cfg job")
    if flags.config_dir is not None and not (isinstance(flags.config_dir, str) and Path(flags.config_dir).is_dir()):
        raise AutopruneError(f"--config-dir: a folder of configs must be named, but got {flags.config_dir!r}.")
    if flags.config_name is not None or flags.config_path is not None:
        refuse("--config-name, --config-path: the config is autoprune's own; --config-dir names a folder beside it")
    if flags.experimental_rerun is not None:
        refuse("--experimental-rerun: a pickled job is code of whoever wrote it, and is not run")


def with_config_dir(arguments: Sequence[str], folder: str) -> list[str]:
    """The same command line with another folder behind `--config-dir`, as one word."""
    kept, names = list[str](), False
    for argument in arguments:
        if not names and argument.partition("=")[0] not in CONFIG_DIR:
            kept.append(argument)
        names = argument in CONFIG_DIR
    return [f"{CONFIG_DIR[0]}={folder}", *kept]
