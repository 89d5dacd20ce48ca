"""What can go wrong on a person's machine, besides the errors of the function."""

from collections.abc import Sequence

from handler.errors import SiltError


class UsageError(SiltError):
    """The command was used wrongly: exit code 2."""


class PackagingError(SiltError):
    """An artifact could not be made: exit code 1."""


class DeploymentError(SiltError):
    """deploy.yml is wrong. `problems` holds a line for each, file and line first: exit code 1."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
