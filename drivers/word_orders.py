"""Which word of a value comes first, in the words of makers' manuals. Pure.

Wattpost reads the bytes of a register most significant first, as Modbus has it, and the registers of a value either
way: big is ABCD, little is CDAB. What swaps the bytes of a register (BADC, DCBA) is refused, never taken for one of
these. A word that some manuals use for CDAB and others for DCBA is taken for CDAB, with a doubt for people to settle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from drivers.profile.model import WORDS, DataType, WordOrder

EXPECTED = "big (ABCD) or little (CDAB, low word first)"
BIG = frozenset((
    "na", "none", "big", "be", "bigendian", "high", "highfirst", "highwordfirst", "highorderwordfirst", "hilo", "msb",
    "msbfirst", "msw", "mswfirst", "mswlsw", "mostsignificantfirst", "mostsignificantbytefirst",
    "mostsignificantwordfirst", "normal", "standard", "noswap", "notswapped", "motorola", "network",
))  # fmt: skip
LITTLE = frozenset((
    "little", "low", "lowfirst", "lowwordfirst", "loworderwordfirst", "lohi", "lsw", "lswfirst", "lswmsw",
    "leastsignificantwordfirst", "wordswap", "wordswapped", "wordsswapped", "swapword", "swapwords", "swappedword",
    "swappedwords", "wordreversed", "reversedwords", "midlittle", "midlittleendian", "littleendianbyteswap",
    "littleendianbyteswapped",
))  # fmt: skip
LITTLE_PERHAPS = frozenset((
    "le", "littleendian", "lsb", "lsbfirst", "leastsignificantfirst", "leastsignificantbytefirst", "intel",
))  # fmt: skip
LITTLE_OF_WORDS = frozenset(("little", "low"))  # clear in a column that is called word_order, nowhere else
BYTES_SWAPPED = frozenset((
    "byteswap", "byteswapped", "bytesswapped", "swapbyte", "swapbytes", "swappedbytes", "bigendianbyteswap",
    "bigendianbyteswapped", "midbig", "midbigendian", "byteandwordswap", "wordandbyteswap",
))  # fmt: skip
UNCLEAR = frozenset((
    "swap", "swapped", "reverse", "reversed", "inverse", "inverted", "mixed", "middle", "mid", "midendian",
    "middleendian", "mixedendian",
))  # fmt: skip
DOUBT = "is read as CDAB, low word first; some manuals mean DCBA by it: compare a large value with the meter's display"
SWAPS_BYTES = "swaps the bytes of each register, which Wattpost cannot read"


class WordOrderError(ValueError):
    """An order that is unknown or cannot be read: the column that says it, and why."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(problem)
        self.column = column
        self.problem = problem


@dataclass(frozen=True, slots=True)
class SaidOrder:
    """An order, and the doubt whether it is what the manual means."""

    order: WordOrder
    doubt: str = ""


def agreed_order(texts: Mapping[str, str], kind: DataType) -> SaidOrder:
    """What columns say of the order of a value; those without a text say nothing. Raises `WordOrderError`."""
    said = {column: _said_order(column, text, kind) for column, text in texts.items() if text}
    if len(said) > 1 and _plain(texts.get("byte_order", "")) in BIG:
        del said["byte_order"]  # of the bytes within a word, then
    first, *others = said or {"": SaidOrder("big")}
    for column in others:
        if said[column].order != said[first].order:
            problem = f"{texts[column]!r} does not agree with {first}, {texts[first]!r}"
            raise WordOrderError(column, problem)
    if not said:
        return SaidOrder("big")
    doubts = [each.doubt for each in said.values()]
    return SaidOrder(said[first].order, doubts[-1] if all(doubts) or "byte_order" in said else "")


def _said_order(column: str, text: str, kind: DataType) -> SaidOrder:
    plain = _plain(text)
    if plain in LITTLE_PERHAPS or (plain in LITTLE_OF_WORDS and column != "word_order"):
        return SaidOrder("little", f"{text!r} {DOUBT}")
    if plain in BIG:
        return SaidOrder("big")
    if plain in LITTLE:
        return SaidOrder("little")
    if plain in BYTES_SWAPPED:
        raise WordOrderError(column, f"{text!r} {SWAPS_BYTES}")
    if plain in UNCLEAR:
        problem = f"{text!r} does not say what is swapped: the words (CDAB) or the bytes of each (BADC)"
        raise WordOrderError(column, problem)
    if not _is_in_letters(plain):
        raise WordOrderError(column, f"{text!r} is no order that Wattpost knows")
    try:
        return SaidOrder(_order_of_letters(plain, kind))
    except ValueError as error:
        raise WordOrderError(column, f"{text!r} {error}") from error


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def _is_in_letters(plain: str) -> bool:
    """`abcd` and its like: the first letters of the alphabet, one for each byte, in any order."""
    return len(plain) in {2, 4, 8} and "".join(sorted(plain)) == "abcdefgh"[: len(plain)]


def _order_of_letters(letters: str, kind: DataType) -> WordOrder:
    """Raises `ValueError` with what the letters do that cannot be read."""
    words = [letters[at : at + 2] for at in range(0, len(letters), 2)]
    steps = {ord(word[1]) - ord(word[0]) for word in words}
    if steps == {-1}:
        raise ValueError(SWAPS_BYTES)
    if steps != {1}:
        raise ValueError("mixes the bytes in a way that Wattpost cannot read")
    if words == sorted(words):
        return "big"
    if WORDS[kind] > 1 and len(words) != WORDS[kind]:
        raise ValueError(f"has {len(letters)} bytes, and {kind} has {2 * WORDS[kind]}")
    if all(earlier > later for earlier, later in pairwise(words)):
        return "little"
    raise ValueError("mixes the words in a way that Wattpost cannot read")
