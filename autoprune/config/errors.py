"""Errors of Hydra and OmegaConf as an `AutopruneError`: one message, with the nearest names."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from autoprune.config.chosen import content_of
from autoprune.errors import AutopruneError, nearest


@contextmanager
def readable_errors(where: str = "", *, words: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns errors of Hydra and OmegaConf into an `AutopruneError`: one message, with the nearest names.

    Args:
        where: the path of the entry that is read.
        words: the overrides that choose the files to compose, see `chosen`.
    """
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise AutopruneError(
            f"{group}={option}: there is no such {group}. {nearest(option, error.options or [])}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:  # in a folder of the user
        raise AutopruneError(f"a config file is not valid YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        key = ".".join(piece for piece in (where, str(error.full_key or "")) if piece)
        way = "; to write a literal ${, use \\${" if isinstance(error, InterpolationResolutionError) else ""
        cause = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error.msg or error).splitlines()[0])
        raise AutopruneError(f"{key or 'config'}: {cause.rstrip('.')}{way}.") from error
    except OverrideParseException as error:
        raise AutopruneError(f"{error.override}: Hydra cannot read this; put the value in quotes.") from error
    except ConfigCompositionException as error:
        raise AutopruneError(_not_composed(error, words)) from error
    except HydraException as error:
        raise AutopruneError(_plainly(error)) from error
    except OSError as error:
        if error.errno is None:  # OmegaConf's own
            raise AutopruneError(f"a config file does not hold a mapping ({error}).") from error
        if error.filename is None:  # not about a file but, for example, a closed pipe
            raise
        name = Path(os.fsdecode(error.filename)).name
        raise AutopruneError(f"the config file {name!r} cannot be read: {error.strerror}.") from error


def _not_composed(error: HydraException, words: tuple[str, ...]) -> str:
    """Why Hydra could not apply an override to a config."""
    message, cause = str(error), str(error.__cause__)
    if match := re.match(r"Could not override '([^']*)'", message):
        return f"{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    if match := re.match(r"Could not append to config\. An item is already at '([^']*)'", message):
        return f"+{match[1]}: the entry exists already; {match[1]}=… sets it."
    if match := re.match(r"Could not delete '([^']*)'\. No match", message):
        return f"~{match[1]}: there is no such entry; a key to remove has dots, as in ~space.prune."
    if (match := re.match(r"Error merging override (.*)", message, flags=re.DOTALL)) and "merge" in cause:
        return f"{match[1]}: the entry is of another kind; a list, a mapping and a single value cannot be merged."
    if match := re.match(
        r"Could not delete from config\. The value of '([^']*)' is (.*) and not ", message, flags=re.DOTALL
    ):
        value = textwrap.shorten(match[2], 80, placeholder=" …")
        return f"~{match[1]}: its value is {value}, not the one given; ~{match[1]} removes it whatever its value is."
    if match := re.match(r"Could not delete from config\. '([^']*)' does", message):
        if OmegaConf.select(content_of(words), match[1], default="nothing") is None:
            return f"~{match[1]}: it is null already, so there is nothing to remove; {match[1]}=… sets it."
        return f"~{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    return f"{_plainly(error)}{f': {error.__cause__}' if error.__cause__ else ''}".splitlines()[0]


def _neighbours(path: str, words: tuple[str, ...]) -> str:
    """The keys of the chosen files that are nearest to the first unknown key of a path, in words."""
    node: Any = OmegaConf.to_container(content_of(words))
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return nearest(key, node if isinstance(node, dict) else ())
        node = node[key]
    return f"{path} exists, but its value refers to something missing; ~{path} removes it, ++{path}=… replaces it."


def _plainly(error: HydraException) -> str:
    """Hydra's message in one line, without its links."""
    return " ".join(re.sub(r"See https\S+( for \w+)*", "", str(error)).split())
