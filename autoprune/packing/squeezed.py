"""Entropy-coded files: as few bytes as what is in them says, and widened when they are loaded.

Codes of few bits are not equally frequent, and neither are the bytes that several of them lie in. Zstandard's entropy
stage (Collet & Kucherawy 2021, RFC 8878) writes the frequent ones in fewer bits. Codes of normal values take 0.5 %
(4 bits), 3 % (3), 0.8 % (2) and 2 % (1.6) more than their entropy then, and rows that are alike less. Asymmetric
numeral systems (Duda 2013), by `constriction`, reached the entropy, and took 40 ms a megabyte to load in place of 1.4.
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
"""How the search for what repeats is tried: as usual; and hardly at all, since what repeats in codes by chance is
cheaper to say again than to point at."""

MOST = 2**28
"""Bytes that a file may have before it is squeezed: a few that say they are terabytes are not believed."""


def squeeze(content: bytes) -> bytes:
    """The bytes of a squeezed file, with a checksum of its content."""
    tried: list[bytes] = [zstd.compress(content, options=manner) for manner in MANNERS]
    return min(tried, key=len)


def widen(path: Path) -> bytes:
    """The content of a squeezed file.

    Raises:
        AutopruneError: it is damaged.
    """
    held = path.read_bytes()
    with undamaged(path):
        size = zstd.get_frame_info(held).decompressed_size
        check_size(path, size)
        content: bytes = zstd.decompress(held)
    return content


def check_size(path: Path, size: int | None) -> None:
    """Refuses more bytes than `MOST`, or a file that does not say how many it has."""
    if size is None or size > MOST:
        raise AutopruneError(f"{path}: at most {MOST:,} bytes are entropy-coded, but it says {size}; make it again.")


@contextmanager
def undamaged(path: Path, *further: type[Exception]) -> Iterator[None]:
    """Says of a file that Zstandard cannot read that it is damaged.

    Args:
        further: other errors that say so.
    """
    try:
        yield
    except AutopruneError:
        raise
    except (zstd.ZstdError, *further) as error:  # type: ignore[misc]  # whose class mypy cannot see
        raise AutopruneError(
            f"{path}: the entropy-coded file is damaged ({error}); copy the artifact again."
        ) from error
