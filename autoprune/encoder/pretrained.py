"""Reads a model's folder with `transformers`: its config with the defaults of its type, and its tokenizer.

It runs no code of the model's own, fetches nothing and prints nothing: problems are raised as autoprune's errors.
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
        longest: the most tokens of a text, unchecked as it stands in the file: mostly a number.
        truncation, padding: the side of truncation and of padding, `left` or `right`.
        pad: the id of the padding token.
        segments: whether it gives token types, which tell the two texts of a pair apart.
    """

    backend: str
    longest: Any
    truncation: str
    padding: str
    pad: int | None
    segments: bool


def with_defaults(source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of a known `model_type`, with the defaults of its type for missing settings.

    Raises:
        AutopruneError: `transformers` refuses a value.
    """
    from transformers import CONFIG_MAPPING

    try:
        with _quiet():
            config: dict[str, Any] = CONFIG_MAPPING[given["model_type"]].from_dict(dict(given)).to_dict()
    except Exception as error:  # transformers may raise anything for unexpected values
        raise source.refusal(f"config.json cannot be read ({_first_line(error)}).") from error
    window = given.get("sliding_window")  # some versions of transformers return half of Gemma's
    return config if window is None else {**config, "sliding_window": window}


def read_pretrained(source: Source, folder: Path) -> Pretrained:
    """The tokenizer in a folder.

    Raises:
        AutopruneError: there is no tokenizer, it cannot be loaded, or it needs code of the model's own.
    """
    from transformers import AutoTokenizer

    files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not files:
        raise source.refusal(f"there is no tokenizer in it; one of {', '.join(TOKENIZER_FILES)} is needed.")
    for path in files:
        check_file(path)
    for name in ("tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        source.read(folder / name, name)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return Pretrained(
                backend=tokenizer.backend_tokenizer.to_str(),
                longest=tokenizer.model_max_length,
                truncation=tokenizer.truncation_side,
                padding=tokenizer.padding_side,
                pad=tokenizer.pad_token_id,
                segments="token_type_ids" in tokenizer.model_input_names,
            )
    except Exception as error:  # transformers may raise anything for unexpected files
        raise source.refusal(
            f"the tokenizer cannot be loaded ({_first_line(error)}); it must be one that runs without code of the "
            "model's own and can be written as a tokenizer.json."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the logs, warnings and progress bars of transformers, and restores them afterwards."""
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
