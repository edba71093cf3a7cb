"""Entropy-coded files: as few bytes as what is in them says, and widened when they are loaded.

Codes of few bits are not equally frequent, and neither are the bytes that several of them lie in. Zstandard's entropy
stage (Collet & Kucherawy 2021, RFC 8878; Duda 2013, "Asymmetric Numeral Systems") writes the frequent ones in fewer
bits, within half a percent of the entropy of codes of 4, 3 and 2 bits. A coder of ranges reached the last of that, and
took 30 times as long to load.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from autoprune.errors import AutopruneError
from autoprune.extras import need

SUFFIX = ".zst"

LEVEL = 3
"""Of the search for what repeats; higher ones found nothing in codes."""


def squeeze(content: bytes) -> bytes:
    """The bytes of a squeezed file, with a checksum of its content."""
    library = zstandard()
    parameter = library.CompressionParameter
    options = {parameter.compression_level: LEVEL, parameter.checksum_flag: 1}
    squeezed: bytes = library.compress(content, options=options)
    return squeezed


def widen(path: Path) -> bytes:
    """The content of a squeezed file.

    Raises:
        AutopruneError: it is damaged, or the library is not installed.
    """
    library = zstandard()
    try:
        content: bytes = library.decompress(path.read_bytes())
    except library.ZstdError as error:
        raise AutopruneError(
            f"{path}: the entropy-coded file is damaged ({error}); copy the artifact again."
        ) from error
    return content


def zstandard() -> ModuleType:
    """Python's own module, or the same for a Python that lacks it.

    Raises:
        AutopruneError: it is not installed.
    """
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        need("backports.zstd", "entropy", "an entropy-coded artifact")
        from backports import zstd  # here, because other artifacts do without
    module: ModuleType = zstd
    return module
