"""Packs codes of few bits into bytes, integers into the narrowest type, and scales into one byte each."""

from __future__ import annotations

from typing import TypeGuard

from autoprune.packing.arrays import Array, cast, filled, namespace

TERNARY = 1.6
"""Bits of a code with three levels: five such codes fit into a byte."""

LEVELS: dict[float, int] = {8: 256, 4: 16, 3: 8, 2: 4, TERNARY: 3, 1: 2}
"""The number of levels, by the bits of a code."""


def is_rate(bits: object) -> TypeGuard[float]:
    """Whether a number of bits is a rate (the mean per code after entropy coding): any float but `TERNARY`."""
    return isinstance(bits, float) and bits != TERNARY


def pack_codes(codes: Array, bits: float) -> Array:
    """Packs several codes per byte, in planes: byte j of a row holds columns j, j + width, j + 2 * width and so on.

    The digits of a byte are its codes. A code of 3 bits is split into its distance from the middle, two bits, and its
    side, one bit; a row stores all distances, then all sides. Frequent codes then give frequent bytes.

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
    """Converts the lower two bits of 3-bit codes to the distance from the middle, and back."""
    return low ^ (1 - side) * 3


def plane(packed: Array, bits: float, number: int) -> Array:
    """The code with this number in each byte, uint8 of the same shape."""
    if bits == TERNARY:
        shifted = packed // 3**number
        return shifted - shifted // 3 * 3  # several times as fast as a remainder
    return (packed >> int(number * bits)) & (LEVELS[bits] - 1)


def narrow(numbers: Array, most: int) -> Array:
    """The numbers in the narrowest type that holds 0 … most."""
    return cast(numbers, "uint8" if most < 2**8 else "int16" if most < 2**15 else "int32")


def scales(steps: Array, grid: Array) -> Array:
    """The scale of each row, float32 [rows].

    Args:
        steps: uint8 [rows]; 0 is a row of zeros, others count steps of the logarithm from 1 on.
        grid: float32 [2]: the logarithm of the scale at 1, and the width of a step.
    """
    numbers = cast(steps, "float64")  # in float32 torch and numpy differ in the last digit
    return cast(namespace(steps).exp(grid[0] + grid[1] * (numbers - 1)) * (numbers > 0), "float32")
