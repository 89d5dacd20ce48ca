"""Reading commits of a log: all that follow a version, or what a writer has to know of them."""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from handler.delta.log import LOG, Actions, commit_key, parse_commit, version_of
from handler.delta.pool import Pool
from handler.delta.recent import commits_before
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry, Store
from handler.errors import NotFound

_AHEAD = 3


class Commit(msgspec.Struct, frozen=True):
    """One commit that was read."""

    version: int
    actions: Actions
    e_tag: str | None


class CommitReader(msgspec.Struct):
    """Reads commits of one table."""

    name: str
    store: Store
    pool: Pool

    def commits_after(self, version: int, deadline: Deadline) -> list[Commit] | None:
        """Return the commits after a version, in order; None where the log has a gap behind it.

        It ends with a commit that is not there, never with a listing: that may lag behind.
        """
        commits = list[Commit]()
        while True:
            ahead = [version + 1 + i for i in range(_AHEAD)]
            for number, answer in zip(ahead, self.get_commits(ahead, deadline), strict=True):
                if answer is None:
                    return commits
                commits.append(answer)
                version = number
            numbers = self._list_after(version, deadline)
            if numbers is None:
                return None
            for number, answer in zip(numbers, self.get_commits(numbers, deadline), strict=True):
                if answer is None:
                    return None
                commits.append(answer)
                version = number

    def newest_commits(self, version: int, deadline: Deadline) -> list[Commit] | None:
        """Return the commits after a version, in order, as far as a snapshot and a decision need
        them: of those before the newest, what the newest says. None where the log has a gap.

        More may have come in the meantime: nothing is concluded from what is not in it.
        """
        numbers = self._list_after(version, deadline)
        if numbers is None:
            return None
        # A listing may lag behind: what comes next is asked for in any case.
        newest = version + max(1, len(numbers))
        last, following = self.get_commits([newest, newest + 1], deadline)
        if last is None:
            return None if numbers else []
        between = self._between(version, last, deadline)
        if between is None:
            return None
        return [*between, last] if following is None else [*between, last, following]

    def _list_after(self, version: int, deadline: Deadline) -> list[int] | None:
        """Return the versions of the commits after one; None where one of them is missing."""
        entries = self.list_log(commit_key(version), deadline)
        numbers = sorted(v for e in entries if (v := version_of(e.key)) is not None)
        expected = list(range(version + 1, version + 1 + len(numbers)))
        return numbers if numbers == expected else None

    def _between(self, version: int, last: Commit, deadline: Deadline) -> list[Commit] | None:
        """Return the commits between a version and a commit: as that one sums them up, or read."""
        numbers = range(version + 1, last.version)
        summaries = commits_before(last.actions)[-len(numbers) :] if numbers else []
        others = numbers[: len(numbers) - len(summaries)]
        read = self.get_commits(others, deadline) if others else []
        known = [
            Commit(number, each.actions(), None)
            for number, each in zip(numbers[len(others) :], summaries, strict=True)
        ]
        commits = [*read, *known]
        found = [commit for commit in commits if commit is not None]
        return found if len(found) == len(commits) else None

    def get_commits(self, versions: Iterable[int], deadline: Deadline) -> list[Commit | None]:
        """Read commits at once; None for each that is not there."""

        def call(version: int) -> Callable[[], Commit | None]:
            def get() -> Commit | None:
                try:
                    entry = self.store.get(commit_key(version))
                except NotFound:
                    return None
                actions = parse_commit(entry.data, f"{self.name}/{commit_key(version)}")
                return Commit(version, actions, entry.e_tag)

            return get

        return request_all([call(v) for v in versions], self.pool, deadline, "read the log")

    def list_log(self, after: str, deadline: Deadline) -> list[Entry]:
        """Return the keys of the log that sort after one."""
        call = partial(self.store.list, LOG, after)
        return list(request_all([call], self.pool, deadline, "list the log")[0])
