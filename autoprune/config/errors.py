"""Every error of Hydra and OmegaConf in one message of ours, with the nearest names."""

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

from autoprune.config.chosen import held
from autoprune.errors import AutopruneError, nearest


@contextmanager
def readable_errors(where: str = "", *, words: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns Hydra's and OmegaConf's errors into ours: one message, with the nearest names.

    Args:
        where: the path of what is read.
        words: what chooses the files that are composed, see `chosen`.
    """
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise AutopruneError(
            f"{group}={option}: there is no such {group}. {nearest(option, error.options or [])}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:  # in a folder of the user's
        raise AutopruneError(f"a file of the config is no YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        key = ".".join(piece for piece in (where, str(error.full_key or "")) if piece)
        way = "; a ${ that is meant as such is written \\${" if isinstance(error, InterpolationResolutionError) else ""
        said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error.msg or error).splitlines()[0])
        raise AutopruneError(f"{key or 'config'}: {said.rstrip('.')}{way}.") from error
    except OverrideParseException as error:
        raise AutopruneError(f"{error.override}: Hydra cannot read this; put the value in quotes.") from error
    except ConfigCompositionException as error:
        raise AutopruneError(_not_composed(error, words)) from error
    except HydraException as error:
        raise AutopruneError(_plainly(error)) from error
    except OSError as error:
        if error.errno is None:  # OmegaConf's own
            raise AutopruneError(f"a file of the config holds no mapping ({error}).") from error
        if error.filename is None:  # of no file, such as a pipe that is closed
            raise
        name = Path(os.fsdecode(error.filename)).name
        raise AutopruneError(f"a file of the config, {name!r}, cannot be read: {error.strerror}.") from error


def _not_composed(error: HydraException, words: tuple[str, ...]) -> str:
    """Why Hydra could not put an override into a config."""
    said = str(error)
    if match := re.match(r"Could not override '([^']*)'", said):
        return f"{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    if match := re.match(r"Could not append to config\. An item is already at '([^']*)'", said):
        return f"+{match[1]}: the entry is there already; {match[1]}=… sets it."
    if match := re.match(r"Could not delete '([^']*)'\. No match", said):
        return f"~{match[1]}: there is no such entry; a key that is taken out has dots, as in ~space.prune."
    if (match := re.match(r"Error merging override (.*)", said, flags=re.DOTALL)) and "merge" in str(error.__cause__):
        return f"{match[1]}: what is there is of another kind; a list, a mapping and one value cannot be put together."
    if match := re.match(
        r"Could not delete from config\. The value of '([^']*)' is (.*) and not ", said, flags=re.DOTALL
    ):
        there = textwrap.shorten(match[2], 80, placeholder=" …")
        return (
            f"~{match[1]}: it holds {there}, and not what was written behind it; ~{match[1]} takes it out in any case."
        )
    if match := re.match(r"Could not delete from config\. '([^']*)' does", said):
        if OmegaConf.select(held(words), match[1], default="nothing") is None:
            return f"~{match[1]}: it holds nothing, so that there is nothing to take out; {match[1]}=… sets it."
        return f"~{match[1]}: there is no such entry. {_neighbours(match[1], words)}"
    return f"{_plainly(error)}{f': {error.__cause__}' if error.__cause__ else ''}".splitlines()[0]


def _neighbours(path: str, words: tuple[str, ...]) -> str:
    """What the config of the chosen files holds beside the first unknown key of a path."""
    node: Any = OmegaConf.to_container(held(words))
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return nearest(key, node if isinstance(node, dict) else ())
        node = node[key]
    return f"{path} itself is there, but its value names what is not; ~{path} takes it out, ++{path}=… puts another in."


def _plainly(error: HydraException) -> str:
    """What Hydra says, in a line, without its links."""
    return " ".join(re.sub(r"See https\S+( for \w+)*", "", str(error)).split())
