"""The folder that ships: tensors and JSON, nothing executable, every file hashed.

    artifact.json              format, the files with their SHA-256, and where the artifact came from
    model/manifest.json        what the tensors mean                     } what the model needs to answer:
    model/tensors.safetensors  packed tables and ids                     } size_bytes counts all of
    model/model.onnx           the graph, where onnxruntime answers      } model/
    model/tokenizer.json       of an encoder                             }
    model/*.zst                in place of any of these but the manifest, entropy-coded where a recipe asks for it;
    model/*.columns.zst        the tensors, where coding each column by itself takes fewer bytes
    beside/tensors.safetensors the whole catalogue, histories, titles
    beside/values.json         whatever else is told in words

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
from autoprune.artifacts.whole import made_whole
from autoprune.errors import LONGEST_REASON, AutopruneError, doing, is_out_of_memory, place_of
from autoprune.fits import fits
from autoprune.packing.columns import COLUMNS, squeeze_columns, widen_columns
from autoprune.packing.squeezed import SUFFIX, squeeze, widen

if TYPE_CHECKING:
    from torch import nn

FORMAT, NEWEST = 2, 4
"""What is written, and what is where a recipe asks for entropy coding: since 4, a code may stand for zero where rows
have a scale in a byte; since 3, columns may be by themselves, and a projection be of half precision. Since 2, titles
and histories of a recommender are compressed. Older ones are read as well."""

MODEL_FILES = ("model/manifest.json", "model/tensors.safetensors")
BESIDE_FILES = ("beside/values.json", "beside/tensors.safetensors")
TENSOR_FILES = (MODEL_FILES[1], BESIDE_FILES[1])


def save(parts: Parts, folder: Path, *, provenance: Mapping[str, Any], beside_from: Path | None = None) -> None:
    """Writes an artifact; whoever looks sees all of it or nothing.

    Args:
        folder: replaced if it is there.
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
                _link(beside_from / name, draft / name)
        files = {name: _describe(draft / name) for name in (*model, *BESIDE_FILES)}
        format = NEWEST if parts.entropy else FORMAT
        _write_card(draft, {"format": format, "files": files, "provenance": dict(provenance)})
        draft.chmod(0o755)  # mkdtemp makes it private
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Removes what a killed `save` left behind among the artifacts in `folder`."""
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
        device: `cpu`, where neither torch nor a GPU is needed, or `cuda`; an encoder of the runtime `onnx` answers on
            the CPU alone.
        prefer: `latency` widens codes of few bits while it loads, so that they answer as fast as float32; `memory`
            leaves them as they are stored. By default small tables are widened, and large ones are not.
        into: of an artifact that was made from a module of one's own, a fresh one of the same class: its tables are
            replaced, its other parameters filled, and it is what comes back.

    Raises:
        AutopruneError: there is no artifact, a file of it is missing, truncated or altered, it cannot answer on the
            device, or `into` is not the module that it was made from; a library that its kind needs is not installed.
    """
    with doing(f"{str(folder)!r} cannot be read"):
        parts = read(place_of(folder, "the folder of an artifact"))
    if str(device).partition(":")[0] != "cpu" and parts.manifest.get("runtime") == "onnx":
        raise AutopruneError(
            f"{str(folder)!r}: device {device!r} was asked for, but this encoder answers by onnxruntime, on the "
            "CPU; load it without device, or search with space.runtime=torch."
        )
    with _fitting(folder):
        served = serve(parts, device=device, prefer=prefer)
        return served if into is None else served.into(into)


def load_on(folder: Path, device: Any) -> tuple[Parts, Served]:
    """The same for a study, with its parts, on the study's device: an encoder of the runtime `onnx` does without it.

    Raises:
        AutopruneError: as `load`.
    """
    with doing(f"{str(folder)!r} cannot be read"):
        parts = read(folder)
    with _fitting(folder):
        return parts, serve(parts, device=device)


@contextmanager
def _fitting(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Says what is wrong where a manifest does not fit its tensors, or the memory is too small for both."""
    try:
        yield
    except AutopruneError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError, zlib.error) as error:
        if is_out_of_memory(error):
            said = " ".join(str(error).split())[:LONGEST_REASON].rstrip(".") or type(error).__name__
            raise AutopruneError(
                f"{str(folder)!r}: the artifact needs more memory than is free ({said}); end what else holds some, or "
                'load it with prefer="memory" or on another device.'
            ) from error
        raise AutopruneError(
            f"{str(folder)!r}: what the artifact says of itself does not fit its tensors ({error!r}); make it again."
        ) from error


def read(folder: Path, *, whole: bool = False) -> Parts:
    """The parts of an artifact, every file checked against its length and its hash.

    Args:
        whole: whether the hash of files is checked that are so large that they are mapped, and not read: whoever looks
            a row up need not wait for all of them.
    """
    files = read_card(folder)["files"]
    ways = (COLUMNS, SUFFIX, "")
    tensors = MODEL_FILES[1] + next((end for end in ways if MODEL_FILES[1] + end in files), "")
    needed = (MODEL_FILES[0], tensors, *BESIDE_FILES)
    further = [name for name in files if re.fullmatch(r"model/[\w.-]+", name) and name not in needed]
    for name in (*needed, *further):
        # what is not mapped is read as a whole in any case
        _check(folder / name, files.get(name), whole=whole or name not in TENSOR_FILES)
    try:
        return Parts(
            manifest=json.loads((folder / MODEL_FILES[0]).read_bytes()),
            tensors=_tensors(folder / tensors),
            beside=Beside(
                values=json.loads((folder / BESIDE_FILES[0]).read_bytes()),
                tensors=tensor_file.read(folder / BESIDE_FILES[1]),
            ),
            files={name.removeprefix("model/").removesuffix(SUFFIX): _file(folder / name) for name in further},
            entropy=any(name.endswith(SUFFIX) for name in files),
        )
    except AutopruneError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, safetensors.SafetensorError) as error:
        raise AutopruneError(f"{folder}: the artifact cannot be read ({error}); make it again.") from error


def read_card(folder: Path) -> dict[str, Any]:
    """`artifact.json`, checked: format, files and provenance.

    Raises:
        AutopruneError: the file is missing, no JSON, altered, or of another format.
    """
    path = folder / "artifact.json"
    if not path.is_file():
        raise AutopruneError(f"{str(folder)!r} is no artifact: there is no artifact.json in it.")
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
            "a newer autoprune wrote it: pip install -U autoprune."
        )
    return content


def size_bytes(folder: Path) -> int:
    """Bytes of `model/`: what the model needs to answer."""
    return sum(path.stat().st_size for path in (folder / "model").iterdir())


def weighed(parts: Parts) -> int:
    """What `size_bytes` finds once the parts are saved."""
    size = tensor_file.size_bytes(parts.tensors, parts.blocks)
    if parts.entropy and size < tensor_file.LARGE:  # how few bytes it takes is known once they are written
        with tempfile.TemporaryDirectory() as folder:
            _write_model(parts, Path(folder))
            return size_bytes(Path(folder))
    small = _small_files(parts)
    if parts.entropy:
        small |= {f"model/{name}": _smallest(name, small[f"model/{name}"])[1] for name in parts.files}
    return sum(map(len, small.values())) + size


def folder_bytes(folder: Path) -> int:
    """Bytes of the whole artifact: `model/`, what lies beside it, and `artifact.json`."""
    named = [*read_card(folder)["files"], "artifact.json"]
    return sum((folder / name).stat().st_size for name in named)


def copy(folder: Path, to: Path, *, bare: bool = False) -> None:
    """Copies an artifact to a new place, whole or not at all.

    Args:
        bare: whether what lies beside the model is left out.

    Raises:
        AutopruneError: `to` exists already, or the artifact is damaged.
    """
    with made_whole(to) as draft:
        read(folder, whole=True)
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        if bare:
            content = read_card(folder)
            _write_beside(draft, Beside(values={}, tensors={}))
            content["files"] |= {name: _describe(draft / name) for name in BESIDE_FILES}
            _write_card(draft, content)


def _write_model(parts: Parts, folder: Path) -> list[str]:
    """Writes `model/`; returns which files it has."""
    (folder / "model").mkdir()
    for name, held in _small_files(parts).items():
        (folder / name).write_bytes(held)
    tensor_file.write(folder / MODEL_FILES[1], parts.tensors, parts.blocks)
    further = [MODEL_FILES[1], *(f"model/{name}" for name in parts.files)]
    return [MODEL_FILES[0], *(_squeezed(folder, name) if parts.entropy else name for name in further)]


def _squeezed(folder: Path, name: str) -> str:
    """Entropy-codes a file so that it is smallest; returns its name. One that would be mapped stays as it is."""
    path = folder / name
    if path.stat().st_size >= tensor_file.LARGE:
        return name
    ending, content = _smallest(name, path.read_bytes())
    if ending:
        path.unlink()
        (folder / (name + ending)).write_bytes(content)
    return name + ending


def _smallest(name: str, plain: bytes) -> tuple[str, bytes]:
    """What the name of a file ends with, and what is in it, where that takes fewest bytes."""
    if len(plain) >= tensor_file.LARGE:
        return "", plain
    ways = {"": plain, SUFFIX: squeeze(plain)}
    if name == MODEL_FILES[1]:
        ways[COLUMNS] = squeeze_columns(plain)
    ending = min(ways, key=lambda one: len(ways[one]))
    return ending, ways[ending]


def _tensors(path: Path) -> Tensors:
    """The arrays of a file, entropy-coded or not."""
    if path.name.endswith(COLUMNS):
        return tensor_file.parse(widen_columns(path))
    return tensor_file.parse(widen(path)) if path.name.endswith(SUFFIX) else tensor_file.read(path)


def _file(path: Path) -> bytes | Path:
    """What is in an entropy-coded file; other files are read by who needs them."""
    return widen(path) if path.name.endswith(SUFFIX) else path


def _small_files(parts: Parts) -> dict[str, bytes]:
    """What lies in `model/` beside the tensors, by name."""
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
    """Refuses a file that is not as it was written."""
    if expected is None or not path.is_file():
        raise AutopruneError(f"{path}: the file is missing from the artifact; copy the whole folder again.")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise AutopruneError(
            f"{path}: {expected['bytes']} bytes are expected, but there are {size}: the file is truncated "
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


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
