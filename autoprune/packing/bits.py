"""Codes of few bits as packed bytes, whole numbers in the narrowest type, and scales in one byte each."""

from __future__ import annotations

from typing import TypeGuard

from autoprune.packing.arrays import Array, cast, filled, namespace

TERNARY = 1.6
"""Bits of a code of three levels: five of them fit into a byte."""

LEVELS: dict[float, int] = {8: 256, 4: 16, 3: 8, 2: 4, TERNARY: 3, 1: 2}
"""How many different codes there are, by the bits that one takes."""


def is_rate(bits: object) -> TypeGuard[float]:
    """Whether a number of bits is what a code takes in the mean once it is entropy-coded: one with a point."""
    return isinstance(bits, float) and bits != TERNARY


def pack_codes(codes: Array, bits: float) -> Array:
    """Several codes a byte, in planes: byte j of a row holds columns j, j + width, j + 2 * width and so on.

    A byte is a number whose digits are its codes. Codes of 3 bits are told by how far they lie from the middle, in two
    bits, and after these for a whole row by the side, in one: so what is frequent in them can be told from the rest.

    Args:
        codes: uint8 [..., dim], each below `LEVELS[bits]`.

    Returns:
        uint8 [..., `packed_width(dim, bits)`].
    """
    if bits == 3:
        side = codes >> 2
        return namespace(codes).concatenate([pack_codes(_mirrored(codes & 3, side), 2), pack_codes(side, 1)], axis=-1)
    width = packed_width(codes.shape[-1], bits)
    packed = filled((*codes.shape[:-1], width), 0, codes, "uint8")
    for number in range(int(8 / bits)):
        part = codes[..., number * width : (number + 1) * width]
        packed[..., : part.shape[-1]] += part * LEVELS[bits] ** number
    return packed


def packed_width(dim: int, bits: float) -> int:
    """Bytes of a row of packed codes."""
    return packed_width(dim, 2) + packed_width(dim, 1) if bits == 3 else -(-dim // int(8 / bits))


def unpack_codes(packed: Array, bits: float, dim: int) -> Array:
    """The inverse of `pack_codes`: uint8 [..., dim]."""
    if bits == 8:
        return packed
    if bits == 3:
        width = packed_width(dim, 2)
        side = unpack_codes(packed[..., width:], 1, dim)
        return _mirrored(unpack_codes(packed[..., :width], 2, dim), side) | side << 2
    planes = [plane(packed, bits, number) for number in range(int(8 / bits))]
    return namespace(packed).concatenate(planes, axis=-1)[..., :dim]


def _mirrored(low: Array, side: Array) -> Array:
    """The lower two bits of codes of 3 as how far these lie from the middle, and back."""
    return low ^ (1 - side) * 3


def plane(packed: Array, bits: float, number: int) -> Array:
    """One of the codes in each byte, uint8 of the same shape."""
    if bits == TERNARY:
        above = packed // 3**number
        return above - above // 3 * 3  # several times as fast as a remainder
    return (packed >> int(number * bits)) & (LEVELS[bits] - 1)


def narrow(numbers: Array, most: int) -> Array:
    """The numbers in the narrowest type that holds 0 … most."""
    return cast(numbers, "uint8" if most < 2**8 else "int16" if most < 2**15 else "int32")


def scales(steps: Array, grid: Array) -> Array:
    """The scale of each row, float32 [rows].

    Args:
        steps: uint8 [rows]; 0 is a row of zeros, the others are steps of the logarithm.
        grid: float32 [2]: the logarithm of the scale that 1 stands for, and the width of a step.
    """
    numbers = cast(steps, "float64")  # else torch and numpy differ in the last digit
    return cast(namespace(steps).exp(grid[0] + grid[1] * (numbers - 1)) * (numbers > 0), "float32")
