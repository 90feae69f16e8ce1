"""The one error of this package."""


class LocalCloudError(RuntimeError):
    """The local cloud did not start or cannot be reached; the text says at which step, why, and what to do."""
