"""The one error of this package."""


class WireError(ValueError):
    """Bytes, JSON or a value that is not what `docs/wire-format.md` allows; the message says what and where."""
