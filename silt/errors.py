"""What can go wrong on a person's machine, besides the errors of the function."""

from handler.errors import SiltError


class UsageError(SiltError):
    """The command was used wrongly: exit code 2."""


class PackagingError(SiltError):
    """An artifact could not be made: exit code 1."""
