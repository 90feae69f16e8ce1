# ruff: noqa: T201 - a script that prints
"""Throws random, mutated and hostile bytes at every reader of `wire`; anything but `WireError` ends it with the case.

    python tests/property/fuzz_codec.py [--cases 100000] [--seed 1] [--trace-memory]

Prints the seed, how many cases were read and refused, the slowest case, and the peak of memory of a case.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable

from wire import limits
from wire.batch import Anchor, Batch, BatchKey, Column, Event, Reading, Series, Slots
from wire.codec import decode, encode, peek
from wire.document import from_document, to_document
from wire.errors import WireError
from wire.header import open_batch
from wire.receipt import Receipt, parse_receipt
from wire.resolution import Resolution

SECONDS_PER_CASE_MAX = 2.0
PEAK_BYTES_MAX = 96 << 20
FLAGS = limits.FLAGS_MAX
BOMB_EVERY = 2_000  # these take a thousand times as long as the others


def corpus() -> list[bytes]:
    """Batches that between them use every feature of the format."""
    names = ("voltage_l1_n", "energy_active_import_total", "own_name")
    columns = tuple(Column(name, Resolution(1, -1)) for name in names)
    rows = tuple(
        Reading(
            2 * i + 1,
            10_000 * i + i % 3,
            (2300 + i * i % 7, 1 << 40 | i * 300, None if i % 4 else -(1 << 62)),
            (0, 1, 2) if i % 9 == 8 else (),
        )
        for i in range(30)
    )
    events = (
        Event(2, 5, "gap", "main", {"reason": "silent", "spans": [[1, 2], {"x": None}], "é": 1.5}),
        Event(4, 6, "stop"),
    )
    key = BatchKey("apt-0123", bytes(8), 1, 100, 1)
    anchor = Anchor(1_790_000_000_000, 20)
    full = Batch(key, bytes(8), anchor, True, (Series("main", columns, rows, Slots(30, 30), b"abcd"),), events)
    bare = Batch(key, bytes(8), None, False)
    several = Batch(key, bytes(8), None, False, tuple(Series(f"m{i}", columns, rows[i::3]) for i in range(3)))
    return [encode(batch) for batch in (full, bare, several)]


def bombs() -> list[bytes]:
    """Few bytes that say much: the first of them within all limits, the others beyond one or wrong at the end."""
    header = encode(Batch(BatchKey("apt-0123", bytes(8), 1, 1 << 20), bytes(8), None, False))
    header = split(header)[0]
    rows = bytes([0, 1, 1, 109, 0, 0, 0, 0, 4]) + varint(1 << 16) + b"".join(bytes([n, 1, 0]) for n in range(1, 5))
    counted, constant = b"\x12\x00\x02", b"\x10"
    half = varint(1 << 15)
    missing_and_flags = b"\x1c" + half + b"\x01\x00" * (1 << 15) + half + (b"\x01\x00" + varint(FLAGS)) * (1 << 15)
    huge = bytes([255]) * (9 << 16) + bytes([1]) * (1 << 16)
    event = b"\0\0\x01\x01\0\x01g\0"
    deep = b'{"a":' + b"[" * 100_000
    wide = b'{"a":[' + b"[]," * 170_000 + b"[]]}"
    return [
        sealed(header, rows + counted + constant * 5 + b"\0"),
        sealed(header, rows + counted + constant + missing_and_flags * 4 + b"\0"),
        sealed(header, rows + counted + constant + b"\0" * 4 + huge * 4 + b"\0"),
        sealed(header, event + varint(len(wide)) + wide),
        sealed(header, b"\0\0" + varint(4096) + b"\x01\0\x01g\0\0" * 4096),
        sealed(header, event + varint(len(deep)) + deep),
        sealed(header, bytes(limits.BODY_BYTES_MAX)),
        sealed(header, bytes(limits.BODY_BYTES_MAX + 1)),
        sealed(header, rows.replace(b"\x04", b"\x05", 1) + counted + constant * 5 + b"\0"),
    ]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header and inflated body."""
    _, reader = open_batch(data)
    return data[: reader.pos], zlib.decompress(reader.take(reader.left, "body"), -15)


def sealed(header: bytes, body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return with_crc(header + packer.compress(body) + packer.flush())


def with_crc(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "little")


class Mutator:
    """Cases from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.corpus = corpus()
        self.parts = [split(data) for data in self.corpus]
        self.bombs = bombs()
        self.receipt = Receipt(bytes(8), 12, "0" * 32, ((14, 20),), ((16, 16, "poison"),), 2.0).to_json()

    def changed(self, data: bytes) -> bytes:
        """One to four places changed, cut out, doubled or filled with what is often special."""
        out = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            place = self.random.randint(0, len(out))
            match self.random.randint(0, 4):
                case 0:
                    out[place : place + 1] = self.random.randbytes(1)
                case 1:
                    out[place : place + 1] = self.random.choice(
                        (b"\0", b"\xff", b"\x80", b"\x7f", b"\xff" * 9 + b"\x01")
                    )
                case 2:
                    del out[place : place + self.random.randint(1, 8)]
                case 3:
                    out[place:place] = self.random.randbytes(self.random.randint(1, 8))
                case _:
                    out[place:place] = out[place : place + 16]
        return bytes(out)

    def case(self, number: int) -> tuple[str, Callable[[bytes], object], bytes]:
        """What is tried, with which reader, on which bytes."""
        if number % BOMB_EVERY == 0:
            return "bomb", decode, self.bombs[number // BOMB_EVERY % len(self.bombs)]
        ways: tuple[tuple[str, Callable[[bytes], object], Callable[[], bytes]], ...] = (
            ("random bytes", decode, lambda: self.random.randbytes(self.random.randint(0, 200))),
            (
                "random body",
                decode,
                lambda: sealed(self.parts[1][0], self.random.randbytes(self.random.randint(0, 99))),
            ),
            ("mutated batch", decode, lambda: self.changed(self.random.choice(self.corpus))),
            ("mutated batch, CRC right", decode, lambda: with_crc(self.changed(self.random.choice(self.corpus)[:-4]))),
            ("mutated header, CRC right", peek, lambda: with_crc(self.changed(self.corpus[0][:60]))),
            ("mutated receipt", parse_receipt, lambda: self.changed(self.receipt)),
            ("mutated body, CRC right", decode, self.changed_body),
        )
        what, reader, make = ways[min(number % 8, 6)]
        return what, reader, make()

    def changed_body(self) -> bytes:
        """Deflate and CRC are right: this reaches the readers behind them."""
        header, body = self.random.choice(self.parts)
        return sealed(header, self.changed(body))


def check(read: object) -> None:
    """What was accepted can be written, and says the same again."""
    if isinstance(read, Batch):
        again = encode(read)
        if decode(again) != read or encode(from_document(json.loads(json.dumps(to_document(read))))) != again:
            raise AssertionError("read, and not the same when written and read again")


def run(cases: int, seed: int, *, trace_memory: bool) -> Counter[str]:
    """Raises at the first case that fails; returns how many ended how."""
    mutator = Mutator(seed)
    outcomes: Counter[str] = Counter()
    slowest, peak = (0.0, ""), (0, "")
    if trace_memory:
        tracemalloc.start()
    for number in range(cases):
        what, reader, data = mutator.case(number)
        if trace_memory:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
        start = time.perf_counter()
        read = None
        try:
            read = reader(data)
            outcomes[f"{what}: read"] += 1
        except WireError:
            outcomes[f"{what}: refused"] += 1
        except BaseException:
            print(f"case {number} of seed {seed} ({what}): {data.hex()}", file=sys.stderr)
            raise
        slowest = max(slowest, (time.perf_counter() - start, what))
        if trace_memory:
            peak = max(peak, (tracemalloc.get_traced_memory()[1] - before, what))
        if what != "bomb":
            check(read)
    print(f"slowest case {slowest[0] * 1000:.0f} ms ({slowest[1]})")
    assert slowest[0] < SECONDS_PER_CASE_MAX * (5 if trace_memory else 1), "a case takes too long"
    if trace_memory:
        tracemalloc.stop()
        print(f"peak of memory in a case {peak[0] / (1 << 20):.0f} MiB ({peak[1]})")
        assert peak[0] < PEAK_BYTES_MAX, "a case takes too much memory"
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace-memory", action="store_true", help="measure memory too; several times slower")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    start = time.perf_counter()
    outcomes = run(options.cases, options.seed, trace_memory=options.trace_memory)
    for name, count in sorted(outcomes.items()):
        print(f"{count:8} {name}")
    print(f"{options.cases} cases in {time.perf_counter() - start:.1f} s, only WireError was raised")


if __name__ == "__main__":
    main()
