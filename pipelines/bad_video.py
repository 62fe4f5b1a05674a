"""The exceptions that say why a video cannot be used."""


class BadVideo(Exception):
    """One video cannot be used.

    Args:
        path: The file, or `"<bytes>"`.
        reason: What is wrong with it, in words for a person.
        is_final: Whether the file is to blame. If not, a limit of ours or the state of the machine is, and
            the same file may be usable with other limits, or later.
    """

    def __init__(self, path, reason, is_final=True):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason
        self.is_final = is_final


class Unusable(Exception):
    """The reason for a `BadVideo`, raised where the path is not known; `is_final` is as there."""

    def __init__(self, reason, is_final=True):
        super().__init__(reason)
        self.is_final = is_final

    @property
    def reason(self):
        """What is wrong, in words for a person."""
        return str(self)
