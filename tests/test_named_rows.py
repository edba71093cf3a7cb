"""Tables of every format give the same rows, and what is wrong with one is said with its place."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import yaml
from torch import nn

from autoprune.errors import AutopruneError
from autoprune.readers import files
from autoprune.readers.arrays import read_arrays
from autoprune.readers.table import read_table

IDS = ["the", "42", "a b", "é", ". . ."]
ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def lines(ids: list[str] = IDS, rows: Any = ROWS, *, mark: str = " ") -> str:
    return "".join(mark.join([name, *map(str, row)]) + "\n" for name, row in zip(ids, rows, strict=True))


def with_ids(path: Path, ids: list[str] = IDS) -> None:
    path.write_text("".join(f"{one}\n" for one in ids))


def npy(folder: Path) -> Path:
    np.save(folder / "t.npy", ROWS)
    with_ids(folder / "t_ids.txt")
    return folder / "t.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "t.npz", factors=ROWS, iterations=15, dtype="float32")
    np.save(folder / "t.ids.npy", np.array(IDS))
    return folder / "t.npz"


def tensors(folder: Path) -> Path:
    safetensors.numpy.save_file({"emb.weight": ROWS}, folder / "t.safetensors")
    (folder / "t_ids.json").write_text('["the", 42, "a b", "é", ". . ."]')
    return folder / "t.safetensors"


def checkpoint(folder: Path) -> Path:
    torch.save({"epoch": 3, "state_dict": {"emb.weight": torch.from_numpy(ROWS)}}, folder / "t.pt")
    pd.DataFrame({"id": IDS}).to_parquet(folder / "t_ids.parquet")
    return folder / "t.pt"


def listed(folder: Path) -> Path:
    pd.DataFrame({"vector": list(ROWS), "word": IDS}).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def columns(folder: Path) -> Path:
    pd.DataFrame(ROWS, columns=list("abcd")).assign(word=IDS).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def glove(folder: Path) -> Path:
    (folder / "t.txt").write_text(lines())
    return folder / "t.txt"


def word2vec(folder: Path) -> Path:
    (folder / "t.vec").write_bytes(gzip.compress(f"5 4\n{lines()}".encode()))
    return folder / "t.vec"


def binary(folder: Path) -> Path:
    rows = b"".join(name.encode() + b" " + row.tobytes() + b"\n" for name, row in zip(IDS[:2], ROWS, strict=False))
    (folder / "t.bin").write_bytes(b"2 4\n" + rows)
    return folder / "t.bin"


def table_of_numbers(folder: Path) -> Path:
    pd.DataFrame(ROWS, index=pd.Index(IDS, name="word")).to_csv(folder / "t.csv")
    return folder / "t.csv"


def tabs(folder: Path) -> Path:
    (folder / "t.tsv").write_text(lines(mark="\t"))
    return folder / "t.tsv"


def together(folder: Path) -> Path:
    np.savez(folder / "t.npz", vectors=ROWS, ids=np.array(IDS))
    return folder / "t.npz"


def described(folder: Path) -> Path:
    table = pd.DataFrame({"id": IDS, "vector": list(ROWS), "title": "x"})
    table.to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def ids_of_bytes(folder: Path) -> Path:
    pd.DataFrame({"id": [one.encode() for one in IDS], "vector": list(ROWS)}).to_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def polars(folder: Path) -> Path:
    table = pytest.importorskip("polars")
    rows = table.Series(ROWS.tolist(), dtype=table.Array(table.Float32, 4))
    table.DataFrame({"id": table.Series(IDS, dtype=table.Categorical), "vector": rows}).write_parquet(
        folder / "t.parquet"
    )
    return folder / "t.parquet"


def duckdb(folder: Path) -> Path:
    base = pytest.importorskip("duckdb")
    listed(folder).rename(folder / "l.parquet")
    asked = f"select word, vector::FLOAT[4] as vector from '{folder}/l.parquet'"
    base.sql(f"copy ({asked}) to '{folder}/t.parquet' (format parquet, compression zstd)")
    return folder / "t.parquet"


def keyed(folder: Path, *, binary: bool) -> Path:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(4)
    vectors.add_vectors([one.replace(" ", "_") for one in IDS], ROWS)
    vectors.save_word2vec_format(str(folder / "t.any"), binary=binary)
    return folder / "t.any"


def listed_beside(folder: Path) -> Path:
    torch.save({"emb": torch.from_numpy(ROWS), "ids": IDS}, folder / "t.pt")
    return folder / "t.pt"


def beside_the_weights(folder: Path) -> Path:
    torch.save({"words": tuple(IDS), "losses": [0.5, 0.1], "model": {"emb": torch.from_numpy(ROWS)}}, folder / "t.pt")
    return folder / "t.pt"


def objects_and_a_file(folder: Path) -> Path:
    np.savez(folder / "t.npz", vectors=ROWS, ids=np.array(IDS, dtype=object))
    with_ids(folder / "t_ids.txt")
    return folder / "t.npz"


FORMATS = [
    npy,
    npz,
    together,
    listed_beside,
    beside_the_weights,
    objects_and_a_file,
    tensors,
    checkpoint,
    listed,
    described,
    ids_of_bytes,
    polars,
    duckdb,
    columns,
    glove,
    word2vec,
    binary,
    table_of_numbers,
    tabs,
]


@pytest.mark.parametrize("write", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    found = read_table(write(tmp_path))
    assert found.ids == IDS[: len(found)]
    assert found.vectors.dtype == np.float32
    assert found.vectors.tobytes() == ROWS[: len(found)].tobytes()


@pytest.mark.parametrize("binary", [False, True])
def test_what_gensim_writes_is_read_and_its_pickles_are_not(tmp_path: Path, binary: bool) -> None:
    from gensim.models import KeyedVectors

    found = read_table(keyed(tmp_path, binary=binary))
    assert found.ids == [one.replace(" ", "_") for one in IDS]
    np.testing.assert_allclose(found.vectors, ROWS, rtol=1e-6)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "t.any"), binary=binary)
    theirs.save(str(tmp_path / "t.kv"))
    with pytest.raises(AutopruneError, match=r"gensim\.models\.\S+\); that could run code.*save_word2vec_format"):
        read_table(tmp_path / "t.kv")


def test_an_array_is_mapped_from_its_file(tmp_path: Path) -> None:
    vectors = read_table(npy(tmp_path)).vectors
    assert isinstance(vectors, np.memmap) or isinstance(vectors.base, np.memmap)


def test_rows_need_no_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", ROWS.astype(np.float64))
    found = read_table(tmp_path / "t.npy")
    assert found.ids is None
    assert np.array_equal(found.vectors, ROWS)


class Shell:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


class ModelType(Enum):
    GENERAL = 1


class InputType(Enum):
    PAIRWISE = 2


class BPR:
    """Named by its class alone."""


class Config:
    """What RecBole keeps beside the weights."""

    def __init__(self) -> None:
        self.yaml_loader, self.model_class = yaml.FullLoader, BPR
        self.internal_config_dict = {"MODEL_TYPE": ModelType.GENERAL, "MODEL_INPUT_TYPE": InputType.PAIRWISE}
        self.final_config_dict = {"device": torch.device("cpu"), "metrics": ["NDCG"], **self.internal_config_dict}


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_checkpoint_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    monkeypatch.chdir(tmp_path)
    held = {"state_dict": {"e": torch.ones(2, 2)}, "hook": Shell()}
    torch.save(held, "t.pt", _use_new_zipfile_serialization=not old)
    Path("t.pkl").write_bytes(pickle.dumps(Shell()))
    for name in ("t.pt", "t.pkl"):
        with pytest.raises(
            AutopruneError, match=rf"{name}: it is a pickle that asks for more than tensors \(posix.system\)"
        ):
            read_arrays(Path(name))
    np.save("t.npy", np.array([Shell()]), allow_pickle=True)
    with pytest.raises(AutopruneError, match="Python objects, which could run code"):
        read_arrays(Path("t.npy"))
    assert not Path("ran").exists()


def write_recbole(path: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> dict[str, torch.Tensor]:
    """A checkpoint as RecBole's trainer writes it (1.2, `Trainer._save_checkpoint`); returns the weights in it."""
    weights = torch.arange(12.0).reshape(4, 3)
    state = OrderedDict({"user.weight": weights[:, :2], "item.weight": nn.Parameter(weights.half())})
    places = {Config: "config", BPR: "model.bpr", ModelType: "utils.enum_type", InputType: "utils.enum_type"}
    with monkeypatch.context() as patch:
        for name in {"recbole", *(f"recbole.{place}" for place in places.values())}:
            patch.setitem(sys.modules, name, ModuleType(name))
        for kind, place in places.items():
            patch.setattr(kind, "__module__", f"recbole.{place}")
            setattr(sys.modules[f"recbole.{place}"], kind.__name__, kind)
        held = {"config": Config(), "epoch": 1, "best_valid_score": np.float64(0.1), "state_dict": state}
        held |= {"other_parameter": {}, "optimizer": {"m": torch.ones(3, 2)}, **more}
        torch.save(held, path, pickle_protocol=4)
    return state


def test_checkpoints_of_recbole_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own reader of weights lacks the protocol that RecBole asks for."""
    state, found = write_recbole(tmp_path / "m.pth", monkeypatch), read_arrays(tmp_path / "m.pth")
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.detach().numpy())
    write_recbole(tmp_path / "m.pth", monkeypatch, hook=Shell())
    with pytest.raises(AutopruneError, match=r"m\.pth: it is a pickle that asks for more .*\(posix.system\)"):
        read_arrays(tmp_path / "m.pth")
    content = (tmp_path / "m.pth").read_bytes()
    (tmp_path / "m.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(AutopruneError, match=r"m\.pth: it cannot be read as checkpoint"):
        read_arrays(tmp_path / "m.pth")


BAD = {
    "t.txt": [
        ("a 1 2\nb 3\n", "all vectors must be of one length: line 2 \\('b 3'\\) has 1 values, but 2 are expected"),
        ("a 1 2\nb 3 4 5\n", "line 2 .* has 3 values"),
        ("a 1 2\nb 3 x\n", "line 2 holds 'x' instead of a number"),
        ("a 1 2\nb nan 4\n", "row 1 \\(id 'b'\\) holds nan"),
        ("a 1 2\nb 3 1e39\n", "row 1 \\(id 'b'\\) holds inf"),
        ("a 1 2\nb 3 4\na 5 6\n", "id 'a' appears twice, in rows 0 and 2"),
        ("0 1 2 3\n1 4 5\n", "line 2 .* has 2 values, but 3 are expected"),
        ("3 2\na 1 2\nb 3 4\n", "line 1 promises 3 vectors, but 2 follow"),
        ("2 3\na 1 2\nb 3 4\n", "has 2 values, but 3 are expected"),
        ("word\nother\n", "a line must be an id and the values of its vector"),
        ("", "the file is empty"),
        ("<html><body>404", "a web page"),
    ],
    "t.npy": [("\x93NUMPY", "cannot be read as npy")],
    "t.safetensors": [("abcdefghijk", "cannot be read as safetensors")],
    "t.parquet": [("PAR1", "cannot be read as parquet")],
    "t.pt": [("abc", "cannot be read as checkpoint|pickle")],
}


@pytest.mark.parametrize(("name", "content", "said"), [(name, *one) for name, cases in BAD.items() for one in cases])
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(AutopruneError, match=said) as refused:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)


def test_binary_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(ROWS.tobytes())
    with pytest.raises(AutopruneError, match="is neither text nor"):
        read_table(tmp_path / "t.txt")
    for promised, said in ((b"3 4", "3"), (b"9999999999999 4", "9,999,999,999,999")):
        path = binary(tmp_path)
        path.write_bytes(path.read_bytes().replace(b"2 4", promised))
        with pytest.raises(AutopruneError, match=rf"promises {said} vectors of 4 values .* in the middle of vector 2"):
            read_table(path)


def test_a_byte_of_a_float_ends_no_line_of_text(tmp_path: Path) -> None:
    row = np.frombuffer(b"abc\n" + np.array([1.0, 0.0, 2.0], "<f4").tobytes(), "<f4")
    (tmp_path / "t.bin").write_bytes(b"1 4\nthe " + row.tobytes() + b"\n")
    assert read_table(tmp_path / "t.bin").vectors.tobytes() == row.tobytes()


SEPARATED = {
    "fastText, the comma first": ("3 2\n, 0.1 0.2\n. 0.3 0.4\nthe 0.5 0.6\n", [",", ".", "the"]),
    "GloVe, the comma first": (", -0.1 0.2 0.3\n. 0.4 0.5 0.6\n", [",", "."]),
    "GloVe, a number with a comma first": ("1,000 0.1 0.2\n, 0.3 0.4\n", ["1,000", ","]),
    "tabs, ids that end in numbers": ("route 66\t0.1\t0.2\na, b\t0.3\t0.4\n", ["route 66", "a, b"]),
    "commas and spaces": ("a, 0.1, 0.2\nb 2, 0.3, 0.4\n", ["a", "b 2"]),
    "names of columns that end in numbers": ("word\tdim 0\tdim 1\na\t0.1\t0.2\n", ["a"]),
}


@pytest.mark.parametrize("kind", SEPARATED)
def test_the_separator_is_what_parts_the_numbers(tmp_path: Path, kind: str) -> None:
    text, ids = SEPARATED[kind]
    (tmp_path / "t.vec").write_text(text)
    found = read_table(tmp_path / "t.vec")
    assert found.ids == ids
    assert found.vectors[0, :2].tolist() == pytest.approx([-0.1 if "-" in text else 0.1, 0.2])


def brain(folder: Path) -> Path:
    safetensors.torch.save_file({"emb.weight": torch.from_numpy(ROWS).bfloat16()}, folder / "t.safetensors")
    return folder / "t.safetensors"


def doubles(folder: Path) -> Path:
    np.save(folder / "t.npy", ROWS.astype(np.float64))
    return folder / "t.npy"


def old(folder: Path) -> Path:
    torch.save({"emb.weight": torch.from_numpy(ROWS)}, folder / "t.pt", _use_new_zipfile_serialization=False)
    return folder / "t.pt"


@pytest.mark.parametrize("write", [npz, brain, doubles, old, listed, glove, binary])
def test_what_is_larger_than_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr(files, "memory", lambda: 60)  # of what is mapped as it is no byte is read
    path = write(tmp_path)
    with pytest.raises(AutopruneError, match=rf"{path.name}.*: reading it takes .* GB, and this machine has 0\.0 GB"):
        read_table(path)
    (tmp_path / "mapped").mkdir()
    assert read_table(npy(tmp_path / "mapped")).dim == 4


def test_ids_fit_their_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", ROWS)
    for ids, said in [
        (["id", *IDS], "there are 6 ids, but .* has 5 rows; its first line is 'id': is that a heading"),
        ([*IDS[:4], "the"], "id 'the' appears twice, in rows 0 and 4"),
        ([*IDS[:4], ""], "the id of row 4 is empty"),
    ]:
        with_ids(tmp_path / "t_ids.txt", ids)
        with pytest.raises(AutopruneError, match=rf"t_ids\.txt: {said}"):
            read_table(tmp_path / "t.npy")
    np.save(tmp_path / "t.ids.npy", np.arange(5))
    with pytest.raises(AutopruneError, match=r"may be in t\.ids\.npy or t_ids\.txt"):
        read_table(tmp_path / "t.npy")


def test_ids_that_are_never_opened_are_not_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", vectors=ROWS, ids=np.array(IDS, dtype=object), settings=np.array({}, dtype=object))
    torch.save({"emb": torch.from_numpy(ROWS), "ids": ["the", 42]}, tmp_path / "t.pt")
    for name in ("t.npz", "t.pt"):
        with pytest.raises(AutopruneError, match=rf"{name}: ids holds Python objects .* ids\.astype\(str\), or write"):
            read_table(tmp_path / name)
    with pytest.raises(AutopruneError, match=r"t\.npz: settings holds Python objects"):
        read_table(tmp_path / "t.npz", name="settings")


def test_the_table_that_is_meant_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", user=ROWS, item=ROWS)
    with pytest.raises(AutopruneError, match=r"which of its tables is meant\? It holds: user \[5, 4\], item \[5, 4\]"):
        read_table(tmp_path / "t.npz")
    assert len(read_table(tmp_path / "t.npz", name="item")) == 5
    with pytest.raises(AutopruneError, match=r"there is no 'items' in it\. Did you mean item"):
        read_table(tmp_path / "t.npz", name="items")


def test_ragged_lists_of_parquet_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1, 2], "vector": [[1.0, 2.0], [3.0]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(AutopruneError, match="row 0 has 2 values and row 1 has 1"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("write", [listed, columns])
def test_parquet_is_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr("autoprune.readers.parquet.ROWS", 2)
    path = write(tmp_path)
    read = pyarrow.parquet.ParquetFile.read

    def ids_alone(file: Any, **asked: Any) -> Any:
        assert asked["columns"] == ["word"]
        return read(file, **asked)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", ids_alone)
    found = read_table(path)
    assert found.ids == IDS
    assert found.vectors.tobytes() == ROWS.tobytes()


@pytest.mark.parametrize(
    ("spoilt", "said"), [([1.0], "row 0 has 4 values and row 3 has 1"), (None, "row 3 has no vec")]
)
def test_the_row_of_a_later_block_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: list[float] | None, said: str
) -> None:
    monkeypatch.setattr("autoprune.readers.parquet.ROWS", 2)
    vectors = [*ROWS.tolist()[:3], spoilt, ROWS.tolist()[4]]
    pd.DataFrame({"id": IDS, "vector": vectors}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(AutopruneError, match=said):
        read_table(tmp_path / "t.parquet")


def test_a_column_of_biases_is_read_beside_vectors(tmp_path: Path) -> None:
    biases = np.arange(5.0)
    pd.DataFrame({"id": IDS, "vector": list(ROWS), "bias": biases}).to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.bias is not None
    assert found.bias.tolist() == biases.tolist()
    pd.DataFrame({"vector": list(ROWS), "bias": biases}).to_parquet(tmp_path / "t.parquet")
    with_ids(tmp_path / "names.txt")
    found = read_table(tmp_path / "t.parquet", ids=tmp_path / "names.txt")
    assert (found.ids, found.bias is None) == (IDS, False)
    for column, said in {
        "b_i": "t.parquet: next to a column of vectors, the only column of floats must be bias, but there is: b_i",
        "bias": r"t.parquet: bias: row 2 \(id 'a b'\) holds inf",
    }.items():
        spoilt = np.array([0.5, 1, np.inf, 1, 1])
        pd.DataFrame({"id": IDS, "vector": list(ROWS), column: spoilt}).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(AutopruneError, match=said):
            read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("beside", [{"vector": list(ROWS)}, {"d0": ROWS[:, 0], "d1": ROWS[:, 1]}])
def test_a_column_of_ids_is_no_dimension_though_it_holds_floats(tmp_path: Path, beside: dict[str, Any]) -> None:
    pd.DataFrame({"ID": [7.0, 8.0, -9.0, 10.0, 2.0**52], **beside}).to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")
    assert found.ids == ["7", "8", "-9", "10", str(2**52)]
    assert np.array_equal(found.vectors, ROWS[:, : found.dim])
    for wrong in (7.5, 2.0**53, np.inf):
        pd.DataFrame({"id": [wrong, 1, 2, 3, 4], **beside}).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(AutopruneError, match=rf"ids are whole numbers or texts, but {wrong!r} is a fraction"):
            read_table(tmp_path / "t.parquet")


def test_empty_lines_behind_ids_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", ROWS)
    for ending in ("", "\n\n", "\r\n\r\n"):
        (tmp_path / "t_ids.txt").write_bytes(("\r\n".join(IDS) + ending).encode())
        assert read_table(tmp_path / "t.npy").ids == IDS


def test_a_heading_is_thought_of_where_it_is_likely(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", ROWS)
    for ids, hint in [
        (["film", "1", "2", "3", "4", "5"], "; its first line is 'film': is that a heading?"),
        (["Film_ID", *IDS], "; its first line is 'Film_ID': is that a heading?"),
        (["a", *IDS], "."),
    ]:
        with_ids(tmp_path / "t_ids.txt", ids)
        with pytest.raises(AutopruneError) as refused:
            read_table(tmp_path / "t.npy")
        assert str(refused.value).endswith(f"has 5 rows{hint}")


def test_ids_in_bytes_that_are_no_utf_8_are_told_with_their_row(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", ROWS)
    np.save(tmp_path / "t_ids.npy", np.array([one.encode() for one in IDS]))
    assert read_table(tmp_path / "t.npy").ids == IDS
    np.save(tmp_path / "t_ids.npy", np.array([one.encode("latin-1") for one in IDS]))
    with pytest.raises(AutopruneError, match=r"t_ids\.npy: the id of row 3 \(b'\\xe9'\) is not UTF-8; save the ids"):
        read_table(tmp_path / "t.npy")
