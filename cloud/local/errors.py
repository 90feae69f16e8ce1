"""The one error of this package."""


class LocalCloudError(RuntimeError):
    """The local cloud could not be brought up or reached; the text says at which step, why, and what to do."""
