"""Command lines, rewritten for Hydra's grammar of overrides, which reads few characters without quotes."""

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
"""The sections of a config. The value of such a key names a file in the folder of conf/ of the same name."""

FREE = re.compile(r"(requirements|presets)\.")
"""Sections whose keys users invent: a key can be set without existing."""

REQUIREMENT = re.compile(
    r"\+{0,2}requirements\.(\w+[@.][\w@.]+?)"
    r"(?:\.(drop|min|max|confidence)=(.*)|(?<!\.drop)(?<!\.min)(?<!\.max)(?<!\.confidence)=(null))"
)
"""A requirement (or null) on a metric or slice whose name Hydra cannot parse."""

ESCAPED = re.compile(r"\\[\\()\[\]{}:=, \t]")
"""An escaped character in Hydra's grammar, outside quotes."""

MANY = ("--multirun", "-m")

CONFIG_DIR = ("--config-dir", "-cd")


class Kind(Enum):
    """The kind of value that a key takes."""

    TEXT = "one text, such as a path"
    TEXTS = "several texts"
    NAME = "the name of one file"
    ONE = "one number or the like"
    ANY = "one value or several"


def is_override(argument: str) -> bool:
    """Whether an argument sets or removes a key (and is not a flag)."""
    return bool(OVERRIDE.fullmatch(argument) or TAKEN_OUT.match(argument))


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses arguments that are not overrides, and those that set a whole section.

    Raises:
        AutopruneError: an argument is no flag, no flag's value and not key=value.
    """
    for argument in arguments:
        if not argument.startswith("-") and "=" in argument and not is_override(argument):
            raise AutopruneError(f"{argument!r}: an override must have the form key=value. See autoprune --help.")
        if argument.startswith("~") and not is_override(argument):
            raise AutopruneError(f"{argument!r}: ~ must be followed by the key to remove, as in ~space.prune.")
        if argument.startswith("~") and argument[1:].partition("=")[0] in GROUPS:
            raise AutopruneError(f"{argument}: a whole section cannot be removed; remove single keys of it.")
        if key_of(argument) in GROUPS and argument.startswith("++"):
            raise AutopruneError(f"{argument!r}: the file of a section is chosen without ++.")
        if key_of(argument) in GROUPS and re.match(r"[\[{]|(null)?$", argument.partition("=")[2], flags=re.IGNORECASE):
            raise AutopruneError(
                f"{argument!r}: the value must name a file in this folder of conf/; set other keys one by one."
            )


def readable(override: str, kind: Callable[[str], Kind], *, many: bool) -> str:
    """The override as Hydra can read it: texts in quotes, lists in brackets.

    Text that is already quoted or escaped for Hydra stays as it is, and so does `${…}`, which OmegaConf resolves.

    Args:
        kind: the kind of value that a key takes.
        many: whether several values, separated by commas, mean several searches.

    Raises:
        AutopruneError: a key that takes one value has several, or brackets do not match.
    """
    match = OVERRIDE.fullmatch(override)
    if match is None or (BARE.fullmatch(match["value"]) and match["value"].lower() not in RESERVED):
        return override  # it means the same with and without quotes
    value = _value(match["value"], kind(match["key"]), key=match["key"], many=many)
    return f"{match['mark']}{match['key']}={value}"


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
        raise AutopruneError(f"{key}={value}: only one value is allowed; to run one search per value, add --multirun.")
    if kind is Kind.NAME:
        return _text(value)
    if read is UNREADABLE and value.startswith(("[", "{")):
        raise AutopruneError(f"{key}={value}: the brackets do not match, or a text inside them needs quotes.")
    return f"[{value}]" if listed else _text(value) if read is UNREADABLE else value


def _text(value: str) -> str:
    """A text in quotes, unless it needs none, or is already quoted or escaped for Hydra."""
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
"""Stands for a value that Hydra cannot read."""


def _read(value: str) -> Any:
    """The value as Hydra reads it; a `Sweep` or a `Glob` if these are several; `UNREADABLE` if it cannot."""
    try:
        return _parser().parse_override(f"key={value}").value()
    except (HydraException, ValueError, RecursionError):
        return UNREADABLE


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def overridden(overrides: Sequence[str], key: str) -> Any:
    """The value that a list of overrides gives a key in the end; None if it gives none."""
    given = [override for override in overrides if key_of(override) == key]
    return _read(given[-1].partition("=")[2]) if given else None


def config_dir(arguments: Sequence[str]) -> str | None:
    """The folder that `--config-dir` (`-cd`) names on a command line; None if it is not given."""
    folder = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        flag, equals, value = argument.partition("=")
        if flag in CONFIG_DIR:
            folder = value if equals else following
    return folder


def check_flags(arguments: Sequence[str]) -> None:
    """Refuses flags that Hydra does not have, and those that would run somebody else's pickled code.

    Args:
        arguments: flags first.

    Raises:
        AutopruneError: a flag is refused. (By itself, the parser would print its whole usage.)
    """

    def refuse(message: str) -> NoReturn:
        raise AutopruneError(f"{message}. See autoprune --help, and for Hydra's own flags autoprune --hydra-help.")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # argparse would end the process
    flags = parser.parse_args(list(arguments))
    if flags.resolve and not (flags.cfg or flags.help):
        refuse("--resolve: it works only with --cfg job")
    if flags.config_dir is not None and not (isinstance(flags.config_dir, str) and Path(flags.config_dir).is_dir()):
        raise AutopruneError(f"--config-dir: the folder of your configs must be given, but got {flags.config_dir!r}.")
    if flags.config_name is not None or flags.config_path is not None:
        refuse("--config-name, --config-path: the main config cannot be replaced; --config-dir adds a folder")
    if flags.experimental_rerun is not None:
        refuse("--experimental-rerun: a pickled job can contain any code, and is not run")


def with_config_dir(arguments: Sequence[str], folder: str) -> list[str]:
    """The same command line with another folder, as one word `--config-dir=FOLDER`."""
    kept, names_folder = list[str](), False
    for argument in arguments:
        if not names_folder and argument.partition("=")[0] not in CONFIG_DIR:
            kept.append(argument)
        names_folder = argument in CONFIG_DIR  # then the next argument is the folder
    return [f"{CONFIG_DIR[0]}={folder}", *kept]
