"""What a meter says of itself, from its registers: the texts and numbers of a nameplate. Pure."""

from __future__ import annotations


def nameplate_text(kind: str, word_order: str, data: bytes) -> str:
    """The text of `data` (registers, big-endian): `ascii` as it stands, anything else as a whole number.

    Empty where the meter says nothing: all bits zero (many meters answer zeros to any register) or all bits one.
    """
    if word_order == "little":
        words = [data[at : at + 2] for at in range(0, len(data), 2)]
        data = b"".join(reversed(words))
    if not data.strip(b"\0") or not data.strip(b"\xff"):
        return ""
    if kind == "ascii":
        text = data.split(b"\0")[0].decode("ascii", "replace")
        return "".join(letter for letter in text if letter.isprintable() and letter != "\ufffd").strip()
    return str(int.from_bytes(data, "big"))
