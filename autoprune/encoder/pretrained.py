"""What `transformers` makes of a model's folder: its config with the defaults of the family, and its tokenizer.

It runs no code of the model's own, fetches nothing, and says nothing: what it would say is one of our errors.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.encoder.source import Source, check_file

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "tokenizer.model")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A tokenizer as `transformers` reads it.

    Attributes:
        backend: the text of a `tokenizer.json`.
        longest: tokens of a text, whatever stands in the file: mostly a number.
        truncation, padding: the sides of it, `left` or `right`.
        pad: the id that pads.
        segments: whether it says of which of two texts a token is.
    """

    backend: str
    longest: Any
    truncation: str
    padding: str
    pad: int | None
    segments: bool


def with_defaults(source: Source, told: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of a known `model_type`, with the defaults of its family where it says nothing.

    Raises:
        AutopruneError: `transformers` refuses a value.
    """
    from transformers import CONFIG_MAPPING

    try:
        with _quiet():
            config: dict[str, Any] = CONFIG_MAPPING[told["model_type"]].from_dict(dict(told)).to_dict()
    except Exception as error:  # whatever transformers makes of values that it did not expect
        raise source.refusal(f"config.json cannot be read ({_first_line(error)}).") from error
    return config


def read_pretrained(source: Source, folder: Path) -> Pretrained:
    """The tokenizer in a folder.

    Raises:
        AutopruneError: there is none, or it cannot be loaded or would need code of the model's own.
    """
    from transformers import AutoTokenizer

    there = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not there:
        raise source.refusal(f"there is no tokenizer in it; one of {', '.join(TOKENIZER_FILES)} is needed.")
    for path in there:
        check_file(path)
    for name in ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        source.read(folder / name, name)
    try:
        with _quiet():
            read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return Pretrained(
                backend=read.backend_tokenizer.to_str(),
                longest=read.model_max_length,
                truncation=read.truncation_side,
                padding=read.padding_side,
                pad=read.pad_token_id,
                segments="token_type_ids" in read.model_input_names,
            )
    except Exception as error:  # whatever transformers makes of files that it did not expect
        raise source.refusal(
            f"the tokenizer cannot be loaded ({_first_line(error)}); it must be one that runs without code of the "
            "model's own and can be written as a tokenizer.json."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What transformers logs, warns of and draws is not for the user; all of it is as it was afterwards."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
