"""Codes of few bits as packed bytes, and whole numbers in the narrowest type."""

from __future__ import annotations

from autoprune.packing.arrays import Array, cast, filled, namespace


def pack_codes(codes: Array, bits: int) -> Array:
    """Several codes a byte, in planes: byte j of a row holds columns j, j + width, j + 2 * width and so on.

    Args:
        codes: uint8 [..., dim], each below 2**bits; bits is 8, 4, 2 or 1.

    Returns:
        uint8 [..., width] with width = ceil(dim * bits / 8).
    """
    per_byte = 8 // bits
    dim = codes.shape[-1]
    width = -(-dim // per_byte)
    packed = filled((*codes.shape[:-1], width), 0, codes, "uint8")
    for plane in range(per_byte):
        part = codes[..., plane * width : (plane + 1) * width]
        packed[..., : part.shape[-1]] |= part << (plane * bits)
    return packed


def unpack_codes(packed: Array, bits: int, dim: int) -> Array:
    """The inverse of `pack_codes`: uint8 [..., dim]."""
    if bits == 8:
        return packed
    planes = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return namespace(packed).concatenate(planes, axis=-1)[..., :dim]


def narrow(numbers: Array, most: int) -> Array:
    """The numbers in the narrowest type that holds 0 … most."""
    return cast(numbers, "uint8" if most < 2**8 else "int16" if most < 2**15 else "int32")
