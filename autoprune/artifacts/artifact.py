"""The folder that ships: tensors and JSON, nothing executable, every file hashed.

    artifact.json              format, the files with their SHA-256, and where the artifact came from
    model/manifest.json        what the tensors mean                     } what the model needs to answer:
    model/tensors.safetensors  packed tables and ids                     } size_bytes counts all of
    model/model.onnx           the graph, where onnxruntime answers      } model/
    model/tokenizer.json       of an encoder                             }
    model/*.zst                in place of any of these but the manifest, entropy-coded where a recipe asks for it;
    model/*.columns.zst        the tensors, where coding each column by itself takes fewer bytes
    beside/tensors.safetensors the whole catalogue, histories, titles
    beside/values.json         everything else, as JSON

Loading reads the files that `artifact.json` names and no others.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import safetensors

from autoprune.artifacts import tensor_file
from autoprune.artifacts.served import Beside, Parts, Served, Tensors, serve
from autoprune.errors import LONGEST_REASON, AutopruneError, doing, is_out_of_memory, place_of
from autoprune.fits import fits
from autoprune.packing import squeezed
from autoprune.packing.columns import COLUMNS, squeeze_columns, widen_columns
from autoprune.packing.squeezed import SUFFIX, squeeze, widen
from autoprune.whole import whole_folder

if TYPE_CHECKING:
    from torch import nn

FORMAT, NEWEST = 2, 4
"""The format that is written, and the one that is written with entropy coding. Since 2, titles and histories of a
recommender are compressed; since 3, columns may be coded separately and a projection may be float16; since 4, a code
may stand for zero in tables with one-byte scales. Older formats can still be read."""

MODEL_FILES = ("model/manifest.json", "model/tensors.safetensors")
BESIDE_FILES = ("beside/values.json", "beside/tensors.safetensors")
TENSOR_FILES = (MODEL_FILES[1], BESIDE_FILES[1])


def save(parts: Parts, folder: Path, *, provenance: Mapping[str, Any], beside_from: Path | None = None) -> None:
    """Writes an artifact completely or not at all.

    Args:
        folder: replaced if it exists.
        provenance: recipe, seed, versions, machine, parent (JSON values).
        beside_from: an artifact with the same `beside/`, whose files are shared by hard links where possible.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        model = _write_model(parts, draft)
        (draft / "beside").mkdir()
        if beside_from is None:
            _write_beside(draft, parts.beside)
        else:
            for name in BESIDE_FILES:
                _link_or_copy(beside_from / name, draft / name)
        files = {name: _describe(draft / name) for name in (*model, *BESIDE_FILES)}
        format = NEWEST if parts.entropy else FORMAT
        _write_card(draft, {"format": format, "files": files, "provenance": dict(provenance)})
        draft.chmod(0o755)  # mkdtemp makes it private to the user
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Removes drafts that a killed `save` left in `folder`."""
    for draft in folder.glob(".draft-*"):
        shutil.rmtree(draft, ignore_errors=True)


@overload
def load(folder: str | os.PathLike[str], *, device: Any = "cpu", prefer: str | None = None) -> Served: ...


@overload
def load(
    folder: str | os.PathLike[str], *, device: Any = "cpu", prefer: str | None = None, into: nn.Module
) -> nn.Module: ...


def load(
    folder: str | os.PathLike[str], *, device: Any = "cpu", prefer: str | None = None, into: nn.Module | None = None
) -> Served | nn.Module:
    """The model in an artifact folder, ready to answer.

    Args:
        device: `cpu`, which needs neither torch nor a GPU, or `cuda`; an encoder with the runtime `onnx` answers only
            on the CPU.
        prefer: `latency` widens low-bit codes during loading, so that they answer as fast as float32; `memory` keeps
            them as they are stored. By default small tables are widened and large ones are not.
        into: for an artifact of a user's own module, a fresh module of the same class: its tables are replaced, its
            other parameters filled, and it is returned.

    Raises:
        AutopruneError: there is no artifact; a file of it is missing, truncated or altered; it cannot answer on the
            device; `into` is not like the module it was made from; or a library that its kind needs is not installed.
    """
    with _explaining(folder), doing(f"{str(folder)!r} cannot be read"):
        parts = read(place_of(folder, "the folder of an artifact"))
    if str(device).partition(":")[0] != "cpu" and parts.manifest.get("runtime") == "onnx":
        raise AutopruneError(
            f"{str(folder)!r}: device {device!r} was requested, but this encoder runs in onnxruntime, on the "
            "CPU; load it without device, or search with space.runtime=torch."
        )
    with _explaining(folder):
        served = serve(parts, device=device, prefer=prefer)
        return served if into is None else served.into(into)


def load_on(folder: Path, device: Any) -> tuple[Parts, Served]:
    """Loads an artifact of a study on the study's device, and returns its parts too.

    An encoder with the runtime `onnx` answers on the CPU whatever the device.

    Raises:
        AutopruneError: as in `load`.
    """
    with _explaining(folder), doing(f"{str(folder)!r} cannot be read"):
        parts = read(folder)
    with _explaining(folder):
        return parts, serve(parts, device=device)


@contextmanager
def _explaining(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turns errors of a manifest that does not match its tensors, and of too little memory, into ours."""
    try:
        yield
    except AutopruneError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError, zlib.error) as error:
        if is_out_of_memory(error):
            message = " ".join(str(error).split())[:LONGEST_REASON].rstrip(".") or type(error).__name__
            raise AutopruneError(
                f"{str(folder)!r}: the artifact needs more memory than is free ({message}); free some memory, or "
                'load it with prefer="memory" or on another device.'
            ) from error
        raise AutopruneError(
            f"{str(folder)!r}: the artifact's manifest does not match its tensors ({error!r}); rebuild it."
        ) from error


def read(folder: Path, *, whole: bool = False) -> Parts:
    """The parts of an artifact; every file is checked against its recorded length and hash.

    Args:
        whole: whether to check the hash also of files so large that they are memory-mapped. Without it, looking up a
            row does not wait until all of them are read.
    """
    files = read_card(folder)["files"]
    suffixes = (COLUMNS, SUFFIX, "")
    tensors = MODEL_FILES[1] + next((suffix for suffix in suffixes if MODEL_FILES[1] + suffix in files), "")
    needed = (MODEL_FILES[0], tensors, *BESIDE_FILES)
    further = [name for name in files if re.fullmatch(r"model/[\w.-]+", name) and name not in needed]
    for name in (*needed, *further):
        # files that are not mapped are read completely anyway
        _check(folder / name, files.get(name), whole=whole or name not in TENSOR_FILES)
    try:
        return Parts(
            manifest=json.loads((folder / MODEL_FILES[0]).read_bytes()),
            tensors=_tensors(folder / tensors),
            beside=Beside(
                values=json.loads((folder / BESIDE_FILES[0]).read_bytes()),
                tensors=tensor_file.read(folder / BESIDE_FILES[1]),
            ),
            files={name.removeprefix("model/").removesuffix(SUFFIX): _content(folder / name) for name in further},
            entropy=any(name.endswith(SUFFIX) for name in files),
        )
    except AutopruneError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, safetensors.SafetensorError) as error:
        raise AutopruneError(f"{folder}: the artifact cannot be read ({error}); rebuild it.") from error


def read_card(folder: Path) -> dict[str, Any]:
    """`artifact.json`, checked: format, files and provenance.

    Raises:
        AutopruneError: the file is missing, altered, not JSON, or has another format.
    """
    path = folder / "artifact.json"
    if not path.is_file():
        raise AutopruneError(f"{str(folder)!r} is no artifact: it contains no artifact.json.")
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        recorded = content.pop("sha256")
        intact = recorded == _digest(content)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise AutopruneError(f"{path}: truncated or altered; copy the artifact again.")
    if not fits(content.get("format"), int) or not 1 <= content["format"] <= NEWEST:
        raise AutopruneError(
            f"{path}: format {content.get('format')!r} is not one of 1 to {NEWEST}, which this version reads; "
            "a newer autoprune wrote it; install a newer clone: pip install ."
        )
    return content


def size_bytes(folder: Path) -> int:
    """Bytes of `model/`, which contains all that the model needs to answer."""
    return sum(path.stat().st_size for path in (folder / "model").iterdir())


def weighed(parts: Parts) -> int:
    """What `size_bytes` returns once the parts are saved."""
    size = tensor_file.size_bytes(parts.tensors, parts.blocks)
    if parts.entropy and size < _coding_limit(MODEL_FILES[1], parts):  # the compressed size is known only after writing
        with tempfile.TemporaryDirectory() as folder:
            _write_model(parts, Path(folder))
            return size_bytes(Path(folder))
    small = _small_files(parts)
    if parts.entropy:
        small |= {name: _smallest(name, content, parts)[1] for name, content in small.items() if name != MODEL_FILES[0]}
    return sum(map(len, small.values())) + size


def folder_bytes(folder: Path) -> int:
    """Bytes of the whole artifact: `model/`, `beside/` and `artifact.json`."""
    names = [*read_card(folder)["files"], "artifact.json"]
    return sum((folder / name).stat().st_size for name in names)


def copy(folder: Path, to: Path, *, bare: bool = False) -> None:
    """Copies an artifact to a new folder, completely or not at all.

    Args:
        bare: whether to leave out the content of `beside/`.

    Raises:
        AutopruneError: `to` exists already, or the artifact is damaged.
    """
    with whole_folder(to) as draft:
        read(folder, whole=True)
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        if bare:
            content = read_card(folder)
            _write_beside(draft, Beside(values={}, tensors={}))
            content["files"] |= {name: _describe(draft / name) for name in BESIDE_FILES}
            _write_card(draft, content)


def _write_model(parts: Parts, folder: Path) -> list[str]:
    """Writes `model/`; returns the names of its files."""
    (folder / "model").mkdir()
    for name, content in _small_files(parts).items():
        (folder / name).write_bytes(content)
    tensor_file.write(folder / MODEL_FILES[1], parts.tensors, parts.blocks)
    further = [MODEL_FILES[1], *(f"model/{name}" for name in parts.files)]
    return [MODEL_FILES[0], *(_squeezed(folder, name, parts) if parts.entropy else name for name in further)]


def _squeezed(folder: Path, name: str, parts: Parts) -> str:
    """Entropy-codes a file in the way that takes fewest bytes, if any saves some; returns its name."""
    path = folder / name
    if path.stat().st_size >= _coding_limit(name, parts):
        return name
    suffix, content = _smallest(name, path.read_bytes(), parts)
    if suffix:
        path.unlink()
        (folder / (name + suffix)).write_bytes(content)
    return name + suffix


def _coding_limit(name: str, parts: Parts) -> int:
    """Files of this many bytes or more are not entropy-coded.

    A table that is computed while it is written may be larger than memory, so if it is large it must stay mappable.
    Graphs and tables that fitted into memory when they were written can be decompressed into memory.
    """
    return tensor_file.LARGE if name == MODEL_FILES[1] and parts.blocks else squeezed.MOST


def _smallest(name: str, plain: bytes, parts: Parts) -> tuple[str, bytes]:
    """The suffix and the content of a file in the coding that takes fewest bytes."""
    if len(plain) >= _coding_limit(name, parts):
        return "", plain
    codings = {"": plain, SUFFIX: squeeze(plain)}
    if name == MODEL_FILES[1]:
        codings[COLUMNS] = squeeze_columns(plain)
    smallest = min(codings, key=lambda suffix: len(codings[suffix]))
    return smallest, codings[smallest]


def _tensors(path: Path) -> Tensors:
    """The arrays of a file, entropy-coded or not."""
    if path.name.endswith(COLUMNS):
        return tensor_file.parse(widen_columns(path))
    return tensor_file.parse(widen(path)) if path.name.endswith(SUFFIX) else tensor_file.read(path)


def _content(path: Path) -> bytes | Path:
    """The content of an entropy-coded file; the path of any other, which is read where it is needed."""
    return widen(path) if path.name.endswith(SUFFIX) else path


def _small_files(parts: Parts) -> dict[str, bytes]:
    """The content of the files in `model/` other than the tensors, by name."""
    return {
        MODEL_FILES[0]: json.dumps(parts.manifest, separators=(",", ":")).encode(),
        **{f"model/{name}": parts.content(name) for name in parts.files},
    }


def _write_beside(folder: Path, beside: Beside) -> None:
    (folder / BESIDE_FILES[0]).write_text(json.dumps(beside.values))
    tensor_file.write(folder / BESIDE_FILES[1], beside.tensors, {})


def _write_card(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes `artifact.json`, and its own hash into it."""
    hashed = {**content, "sha256": _digest(content)}
    (folder / "artifact.json").write_text(json.dumps(hashed, indent=2) + "\n")


def _check(path: Path, expected: Mapping[str, Any] | None, *, whole: bool) -> None:
    """Refuses a file that is missing, truncated or altered."""
    if expected is None or not path.is_file():
        raise AutopruneError(f"{path}: the file is missing from the artifact; copy the whole folder again.")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise AutopruneError(
            f"{path}: expected {expected['bytes']} bytes, but it has {size}: the file is truncated "
            "or replaced; copy the artifact again."
        )
    if (whole or size < tensor_file.LARGE) and _describe(path)["sha256"] != expected["sha256"]:
        raise AutopruneError(
            f"{path}: its SHA-256 is not the recorded one: damaged or altered; copy the artifact again."
        )


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
