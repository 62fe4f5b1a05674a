"""The exceptions that say why a video cannot be used."""


class BadVideo(Exception):
    """One video cannot be used.

    Args:
        path: The file, or `"<bytes>"`.
        reason: What is wrong with it, in words for a person.
    """

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class Unusable(Exception):
    """The reason for a `BadVideo`, raised where the path is not known."""

    @property
    def reason(self):
        """What is wrong, in words for a person."""
        return str(self)
