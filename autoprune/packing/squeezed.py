"""Entropy-coded files: compressed to about the entropy of their content, and decompressed when they are loaded.

Codes of few bits are not equally frequent, and neither are the bytes that contain them. Zstandard's entropy stage
(Collet & Kucherawy 2021, RFC 8878) writes frequent bytes in fewer bits. Codes of normal values then take 0.5 %
(4 bits), 3 % (3), 0.8 % (2) and 2 % (1.6) more than their entropy, and similar rows take less. Asymmetric numeral
systems (Duda 2013), with `constriction`, reached the entropy, but took 40 ms per megabyte to load instead of 1.4.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoprune.errors import AutopruneError

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

SUFFIX = ".zst"

_PARAMETER = zstd.CompressionParameter

MANNERS = (
    {int(_PARAMETER.compression_level): 3, int(_PARAMETER.checksum_flag): 1},
    {
        int(_PARAMETER.compression_level): 1,
        int(_PARAMETER.min_match): 7,
        int(_PARAMETER.hash_log): 6,
        int(_PARAMETER.checksum_flag): 1,
    },
)
"""Compression settings to try: the usual search for repetitions, and hardly any, since codes repeat only by chance, and
short repetitions are cheaper to write again than to refer to."""

MOST = 2**32
"""The most bytes of a file's content: small files that claim to contain terabytes are refused."""


def squeeze(content: bytes) -> bytes:
    """Compresses the content of a file, with a checksum."""
    tried: list[bytes] = [zstd.compress(content, options=manner) for manner in MANNERS]
    return min(tried, key=len)


def widen(path: Path) -> bytes:
    """The content of a compressed file.

    Raises:
        AutopruneError: the file is damaged.
    """
    compressed = path.read_bytes()
    with undamaged(path):
        size = zstd.get_frame_info(compressed).decompressed_size
        check_size(path, size)
        content: bytes = zstd.decompress(compressed)
    return content


def check_size(path: Path, size: int | None) -> None:
    """Refuses content of more than `MOST` bytes, and files that do not say how many bytes they contain."""
    if size is None or size > MOST:
        raise AutopruneError(f"{path}: at most {MOST:,} bytes are entropy-coded, but it says {size}; make it again.")


@contextmanager
def undamaged(path: Path, *further: type[Exception]) -> Iterator[None]:
    """Turns errors of Zstandard into an `AutopruneError` that says that the file is damaged.

    Args:
        further: other errors that mean the same.
    """
    try:
        yield
    except AutopruneError:
        raise
    except (zstd.ZstdError, *further) as error:  # type: ignore[misc]  # mypy does not see its class
        raise AutopruneError(
            f"{path}: the entropy-coded file is damaged ({error}); copy the artifact again."
        ) from error
