"""A value of a JSON document together with its path in it, so that every error says where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

from wire.errors import WireError
from wire.limits import INT64_MAX

T = TypeVar("T")

_MISSING = object()
_NAMES = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "a boolean"}
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_RECORD_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_NUMBER_BITS_MAX = 128
_FLOAT_EXACT_MAX = 1 << 53
_SHOWN_CHARS_MAX = 60  # of a wrong value, in the error


class Node:
    """`value` at `path`; a key that is not there is a node too (`given` is False), and reads as null."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str) -> None:
        self.value = value
        self.path = path

    @property
    def given(self) -> bool:
        """Whether the key is there and not null."""
        return self.value is not _MISSING and self.value is not None

    @property
    def present(self) -> bool:
        """Whether the key is there, null or not."""
        return self.value is not _MISSING

    def fail(self, problem: str) -> WireError:
        """The error to raise; `problem` says what is wrong and what would be right."""
        return WireError(f"{self.path or 'document'}: {problem}")

    def expected(self, what: str) -> WireError:
        """The error for a value that is not `what`."""
        if not self.present:
            return self.fail(f"missing, {what} is needed")
        shown = repr(self.value)
        return self.fail(f"{shown[:_SHOWN_CHARS_MAX]}{'...' * (len(shown) > _SHOWN_CHARS_MAX)} is not {what}")

    def _typed(self, kind: type[T]) -> T:
        if not isinstance(self.value, kind) or (isinstance(self.value, bool) and kind is not bool):
            raise self.expected(_NAMES[kind])
        return self.value

    def key(self, name: str) -> Node:
        """The member `name` of this object."""
        return Node(self._typed(dict).get(name, _MISSING), f"{self.path}.{name}" if self.path else name)

    def members(self) -> Iterator[tuple[str, Node]]:
        """The members of this object, none when it is null or missing."""
        if self.given:
            for name in self._typed(dict):
                if not isinstance(name, str):
                    raise self.expected("an object with text as keys")
                yield name, self.key(name)

    def items(self) -> Iterator[Node]:
        """The items of this list, none when it is null or missing."""
        if self.given:
            for i, item in enumerate(self._typed(list)):
                yield Node(item, f"{self.path}[{i}]")

    def text(self) -> str:
        """This text."""
        return self._typed(str)

    def boolean(self) -> bool:
        """This boolean."""
        return self._typed(bool)

    def integer(self, least: int = 0, most: int = INT64_MAX) -> int:
        """This whole number, within `least..most`; `7.0` is one too, as some languages write it."""
        number = self.value
        if isinstance(number, float) and number.is_integer() and abs(number) < _FLOAT_EXACT_MAX:
            number = int(number)
        else:
            number = self._typed(int)
        if not least <= number <= most:
            raise self.expected(f"in {least}..{most}")
        return number

    def record_number(self, least: int = 1) -> int:
        """This whole number, or its digits as text: it may be beyond what a 64-bit float holds."""
        if isinstance(self.value, str) and _RECORD_NUMBER.fullmatch(self.value):
            return Node(int(self.value), self.path).integer(least)
        return self.integer(least)

    def decimal(self) -> Decimal:
        """This number, or text that is one, as it was written."""
        value = self.value
        if isinstance(value, int) and value.bit_length() > _NUMBER_BITS_MAX:
            raise self.fail(f"a number of {value.bit_length()} bits is too large")
        if isinstance(value, bool) or not isinstance(value, int | float | str) or not _NUMBER.fullmatch(str(value)):
            raise self.expected("a finite number")
        return Decimal(str(value))

    def octets(self, size: int) -> bytes:
        """This text as `size` bytes in hexadecimal digits."""
        text = self.text()
        if len(text) != 2 * size or not _HEX.fullmatch(text):
            raise self.expected(f"{2 * size} hexadecimal digits")
        return bytes.fromhex(text)

    def checked(self, check: Callable[[str], T]) -> T:
        """This text after `check`, whose error is given this path."""
        return self.passed(check, self.text())

    def passed(self, check: Callable[[Any], T], value: object) -> T:
        """`check(value)`; its error is given this path."""
        try:
            return check(value)
        except WireError as error:
            raise self.fail(str(error)) from error
