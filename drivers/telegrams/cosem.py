"""What DLMS/COSEM telegrams and SML have in common: OBIS codes of six bytes, and numbers for units (IEC 62056-62)."""

from __future__ import annotations

# Only what the vocabulary knows; a value of another unit keeps none and is not taken for a measurand.
UNITS = {
    8: "deg",
    9: "degC",
    13: "m3",
    14: "m3",
    27: "W",
    28: "VA",
    29: "var",
    30: "Wh",
    31: "VAh",
    32: "varh",
    33: "A",
    35: "V",
    44: "Hz",
}
NO_GROUP_F = 255


def obis(code: bytes) -> str:
    """Six bytes as `1-0:1.8.0`, with `*F` only where F is not 255."""
    a, b, c, d, e, f = code
    short = f"{a}-{b}:{c}.{d}.{e}"
    return short if f == NO_GROUP_F else f"{short}*{f}"
