"""Sets of entries as whole numbers: bit n is set if entry n is in the set. So filters are joined in microseconds."""

import json
from collections.abc import Iterable

_IN, _OUT = b"1", b"0"
_SPARSE, _DENSE = b"s", b"d"


def to_bits(numbers: Iterable[int]) -> int:
    """Make a set.

    Args:
        numbers: Its members, none below 0.

    Returns:
        The set.
    """
    listed = list(numbers)
    if not listed:
        return 0
    flags = bytearray(_OUT) * (max(listed) + 1)
    for number in listed:
        flags[number] = _IN[0]
    flags.reverse()
    return int(bytes(flags), 2)


def to_mask(bits: int) -> bytes:
    """Write a set as SQL can test it: `substr(mask, n + 1, 1) = x'31'` says whether n is a member.

    Args:
        bits: The set.

    Returns:
        A character for each number.
    """
    return format(bits, "b")[::-1].encode()


def to_numbers(bits: int) -> list[int]:
    """List the members of a set.

    Args:
        bits: The set.

    Returns:
        Its members, in order.
    """
    mask, found = to_mask(bits), []
    at = mask.find(_IN)
    while at >= 0:
        found.append(at)
        at = mask.find(_IN, at + 1)
    return found


def pack(bits: int) -> bytes:
    """Write a set for the index: its bits, or if that is shorter its members.

    Args:
        bits: The set.

    Returns:
        It in bytes.
    """
    if bits.bit_count() * 32 < bits.bit_length():
        return _SPARSE + json.dumps(to_numbers(bits), separators=(",", ":")).encode()
    return _DENSE + bits.to_bytes(bits.bit_length() // 8 + 1, "little")


def unpack(packed: bytes) -> int:
    """Read what `pack` wrote.

    Args:
        packed: It.

    Returns:
        The set.
    """
    if packed[:1] == _SPARSE:
        return to_bits(json.loads(packed[1:]))
    return int.from_bytes(packed[1:], "little")
