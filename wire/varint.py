"""Integers as bytes: LEB128, zigzag, and lists of varints laid out in byte planes."""

from __future__ import annotations

from collections.abc import Sequence

from wire.errors import WireError

VARINT_BYTES_MAX = 10
GROUP_BITS = 7  # of a number in each byte
MORE = 128  # this bit of a byte says that another byte follows
GROUP = MORE - 1
UINT64_MAX = (1 << 64) - 1


def zigzag(number: int) -> int:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ...; `number` is a signed 64-bit integer."""
    return (number << 1) ^ (number >> 63)


def unzigzag(number: int) -> int:
    """The signed integer that `zigzag` made `number` of."""
    return (number >> 1) ^ -(number & 1)


def uvarint(number: int) -> bytes:
    """Unsigned LEB128, seven bits a byte, low bits first."""
    out = bytearray()
    while number >= MORE:
        out.append(number & GROUP | MORE)
        number >>= GROUP_BITS
    out.append(number)
    return bytes(out)


def svarint(number: int) -> bytes:
    """Signed LEB128: zigzag, then `uvarint`."""
    return uvarint(zigzag(number))


def pack_planes(numbers: Sequence[int]) -> bytes:
    """Varints of `numbers` with all first bytes first, then all second bytes of those that have one, and so on."""
    planes = []
    while numbers and max(numbers) >= MORE:
        planes.append(bytes([n & GROUP | MORE if n >= MORE else n for n in numbers]))
        numbers = [n >> GROUP_BITS for n in numbers if n >= MORE]
    planes.append(bytes(numbers))
    return b"".join(planes)


class Reader:
    """Takes fields from bytes, front to back; raises `WireError` naming the field and the place."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        return self.end - self.pos

    def take(self, size: int, what: str) -> bytes:
        if size > self.end - self.pos:
            raise WireError(f"{what} at byte {self.pos}: {size} bytes declared, {self.left} left")
        start = self.pos
        self.pos = start + size
        return self.data[start : self.pos]

    def byte(self, what: str) -> int:
        return self.take(1, what)[0]

    def uvarint(self, what: str, most: int = UINT64_MAX) -> int:
        """An unsigned varint of at most `most`."""
        start, number, shift = self.pos, 0, 0
        while True:
            byte = self.byte(what)
            number |= (byte & GROUP) << shift
            shift += GROUP_BITS
            if byte < MORE:
                break
            if shift == GROUP_BITS * VARINT_BYTES_MAX:
                raise WireError(f"{what} at byte {start}: varint longer than {VARINT_BYTES_MAX} bytes")
        if byte == 0 and shift > GROUP_BITS:
            raise WireError(f"{what} at byte {start}: varint longer than needed")
        if number > most:
            raise WireError(f"{what} at byte {start}: {number} is over {most}")
        return number

    def svarint(self, what: str) -> int:
        return unzigzag(self.uvarint(what))

    def text(self, what: str, most: int) -> str:
        """A length (varint, at most `most` bytes) and that many bytes of UTF-8."""
        start = self.pos
        raw = self.take(self.uvarint(f"length of {what}", most), what)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"{what} at byte {start}: not UTF-8") from error

    def planes(self, count: int, what: str) -> list[int]:
        """`count` unsigned 64-bit varints that `pack_planes` laid out."""
        start = self.pos
        numbers = list(self.take(count, what))
        pending = [i for i, number in enumerate(numbers) if number >= MORE]
        shift = GROUP_BITS
        while pending:
            if shift == GROUP_BITS * VARINT_BYTES_MAX:
                raise WireError(f"{what} at byte {start}: varint longer than {VARINT_BYTES_MAX} bytes")
            plane = self.take(len(pending), what)
            if 0 in plane:
                raise WireError(f"{what} at byte {start}: varint longer than needed")
            for i, byte in zip(pending, plane, strict=True):
                numbers[i] += (byte - 1) << shift  # less 1: the continuation bit that the plane before left there
            pending = [i for i, byte in zip(pending, plane, strict=True) if byte >= MORE]
            shift += GROUP_BITS
        if shift == GROUP_BITS * VARINT_BYTES_MAX and max(numbers) > UINT64_MAX:
            raise WireError(f"{what} at byte {start}: varint over 64 bits")
        return numbers
