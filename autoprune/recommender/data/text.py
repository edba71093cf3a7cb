"""Files of text; their compression and encoding are detected from the content."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autoprune.errors import AutopruneError

HEAD = 1 << 16
"""Number of characters at the start of a file from which its form is detected."""

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, because it begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

NARROW = "\x1f"
"""A control character that replaces separators such as `::`, as pandas' fast parser needs a single character."""

FOREIGN = {
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file with git lfs pull",
    b"SQLite format 3": "an SQLite database; export its table as CSV",
    b"ARROW1": "Feather (Arrow); write it as parquet",
    b"FEA1": "Feather; write it as parquet",
    b"PAR1": "parquet in an archive; unpack it",
    b"\x93NUMPY": "an array of NumPy; write a table (.csv, .parquet)",
    b"\x89HDF": "HDF5; write a table (.csv, .parquet)",
    b"ORC": "ORC; write it as parquet",
    b"Obj\x01": "Avro; write it as parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save its table as CSV",
    b"%PDF": "a PDF; write a table (.csv, .parquet)",
    b"7z\xbc\xaf": "an archive of 7-Zip; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
}
"""First bytes of files of other formats → the format, and what to do."""

PAGE = re.compile(rb"\s*<(!doctype html|html)", flags=re.IGNORECASE)

PICKLE = re.compile(rb"\x80[\x02-\x05]")


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file; if it is compressed (under any name), its uncompressed content."""
    with path.open("rb") as file:
        start = file.read(6)
    for magic, opened in _COMPRESSED.items():
        if start.startswith(magic):
            unpacked: IO[bytes] = opened(path)
            return unpacked
    return path.open("rb")


def _only_member(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if "[Content_Types].xml" in names:
        raise AutopruneError(f"{path} is an Excel workbook; save its table as CSV.")
    if names and all(name.endswith(".npy") for name in names):
        raise AutopruneError(f"{path} holds arrays of NumPy (.npz); write a table (.csv, .parquet).")
    if len(names) != 1:
        raise AutopruneError(f"{path} holds {len(names)} files ({', '.join(names[:5])}); unpack it and name one.")
    return archive.open(names[0])


_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"PK\x03\x04": _only_member,
}
"""First bytes of compressed files → the function that opens them."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A file of text.

    Attributes:
        encoding: its name in Python.
        notes: what was guessed.
    """

    path: Path
    encoding: str
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(path: Path) -> Text:
        """Detects the encoding by a byte-order mark or zero bytes, else UTF-8, else Windows-1252; reads the whole file.

        Raises:
            AutopruneError: the file has none of these encodings, or is not text.
        """
        with open_bytes(path) as file:
            head = file.read(HEAD)
        _check_kind(path, head)
        for mark, encoding in BOMS.items():
            if head.startswith(mark):
                return Text(path=path, encoding=encoding)
        if b"\0" in head:
            return Text(path=path, encoding=_by_zeros(path, head))
        with open_bytes(path) as file:
            decoder = codecs.getincrementaldecoder("utf-8")()
            try:
                for block in iter(lambda: file.read(1 << 20), b""):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError as error:
                _check_windows(path, error.reason)
                return Text(path=path, encoding="cp1252", notes=(f"{path.name} is read as Windows-1252",))
        return Text(path=path, encoding="utf-8")

    def open(self, separator: str = "") -> io.TextIOWrapper:
        """Opens the text, with newlines as line ends and `NARROW` in place of a separator of several characters."""
        if len(separator) < 2:
            return io.TextIOWrapper(open_bytes(self.path), encoding=self.encoding)
        return _Narrowed(open_bytes(self.path), self.encoding, separator)

    def head(self) -> list[str]:
        """The first lines, without an incomplete last line unless it is the only one."""
        with self.open() as file:
            text = file.read(HEAD)
        lines = text.split("\n")
        return lines[:-1] if len(lines) > 1 and (len(text) == HEAD or not lines[-1]) else lines


class _Narrowed(io.TextIOWrapper):
    """A text in which a separator of several characters is replaced by `NARROW`."""

    def __init__(self, file: IO[bytes], encoding: str, separator: str) -> None:
        super().__init__(file, encoding=encoding)
        self.separator = separator

    def read(self, size: int | None = -1) -> str:
        block = super().read(size)
        return (block + self.readline()).replace(self.separator, NARROW)  # whole lines: no separator is cut in two


def _check_kind(path: Path, head: bytes) -> None:
    """Raises if the file has another format."""
    kinds = [kind for magic, kind in FOREIGN.items() if head.startswith(magic)]
    if head[257:262] == b"ustar":
        kinds.append("an archive of tar; unpack it and name one file")
    if PAGE.match(head):
        kinds.append("a web page (HTML), perhaps instead of a download; fetch the table itself")
    if PICKLE.match(head):
        kinds.append("a pickle; write a table (.csv, .parquet)")
    if kinds:
        raise AutopruneError(f"{path} is {kinds[0]}.")


def _by_zeros(path: Path, head: bytes) -> str:
    """The encoding of UTF-16 without a mark: in mostly Latin text every other byte is zero."""
    zeros = [2 * head[start::2].count(0) / len(head) for start in (0, 1)]
    if max(zeros) < 0.5 or min(zeros) > 0.1:
        raise AutopruneError(f"{path} cannot be read: it is neither text nor parquet (it holds zero bytes).")
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _check_windows(path: Path, reason: str) -> None:
    """Raises if the text is damaged UTF-8, not Windows-1252: most characters beyond ASCII are valid UTF-8."""
    with open_bytes(path) as file:
        content = file.read()
    text = content.decode("utf-8", errors="surrogateescape")
    strays = re.findall("[\udc80-\udcff]", text)
    valid = len(re.findall("[^\x00-\x7f]", text)) - len(strays)
    at = content.index(strays[0].encode("utf-8", errors="surrogateescape"))
    if valid <= len(strays):
        try:
            content.decode("cp1252")
        except UnicodeDecodeError as error:
            at, reason = error.start, "nor is it Windows-1252"
        else:
            return
    raise AutopruneError(f"{path}: the text is not UTF-8: {reason} at byte {at:,}; save it as UTF-8.")
