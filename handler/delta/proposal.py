"""What is to become a commit."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from handler.delta.change import DataFile, Why
from handler.delta.log import Actions, Snapshot


class Proposal(Protocol):
    """What is to become a commit: a `Change` of an append, or a rewrite."""

    @property
    def files(self) -> Sequence[DataFile]:
        """Return the data files that are to be put first."""
        ...

    def conflict(self, actions: Actions, snapshot: Snapshot) -> Why | None:
        """Return why a foreign commit, which follows `snapshot`, makes it void, if it does."""
        ...

    @property
    def needs_files(self) -> bool:
        """Return whether the files of foreign commits can make it void."""
        ...

    def body(self, commit_id: str, now_ms: int, note: Mapping[str, Any]) -> bytes:
        """Return it as a commit of the log. `note` goes into its `commitInfo`."""
        ...
