"""How one append gets its turn among many writers of a table: by a race, or taken along.

While few write, each tries the next version, and reads the log if it has lost. Where many do, each
of them would have to read each commit. So a writer that met others looks for offers before its next
commit, and its commits say so (`collects`); who lost against such a writer offers its append, and
waits to be taken along, the next time at once (decision 0023). Who tries when has no part in the
promise: what may be committed is decided by `offers.join_offers`, and by the version that must be
free.
"""

from handler.delta.change import Change
from handler.delta.offers import Offer, join_offers, write_offer
from handler.delta.proposal import Proposal
from handler.delta.recent import Guest, count_writers, write_note
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.errors import StoreError, Unavailable

_BUSY = 3
"""A sandbox whose last append ended so many request times ago is likely to append soon again."""
_ALONE = 3
"""A writer whose last appends met nobody, so many in a row, does not look for offers."""
_MANY = 5
"""Fewer writers of a table are faster each by itself."""
_FIRST_WAIT, _NEXT_WAIT = (3, 5), (1, 3)
"""In request times, from and to: after an append was offered, and after each look at the log."""
_LOOKS_MAX = 5
"""After so many looks at the log an append waits no longer: the other may be of another build."""
_REQUEST_MAX_S = 0.5
"""What a request is taken to last at most: one that hung says nothing of the next."""


class Turn:
    """The way of one append of a table into its log.

    `waits` says what to do next: to wait for another writer, or to put `body` as the next version.
    """

    def __init__(
        self, table: Table, proposal: Proposal, commit_id: str, deadline: Deadline
    ) -> None:
        self.waits = False
        self._table = table
        self._proposal = proposal
        self._commit_id = commit_id
        self._writer = table.writer or commit_id[:8]
        table.writer = self._writer
        self._deadline = deadline
        self._own = proposal if isinstance(proposal, Change) else None
        self._merge_info = table.merge_info if self._own is not None else None
        self._offers = list[Offer]()
        self._offer: bytes | None = None
        self._is_offered = False
        self._met_others = False
        self._lost = self._looks = 0
        self._began_s = deadline.clock.monotonic()
        if self._collects:
            if table.collector == self._writer:
                self._offers = table.offers.read(self._writer, deadline)
            elif table.collector is not None:
                self.waits = self._can_offer()

    def body(self) -> bytes:
        """Return the commit to put: the append, with those of others that can go with it."""
        table, now_ms = self._table, self._deadline.clock.epoch_ms()
        assert table.snapshot is not None
        recent = list(table.recent)
        make_body, guests = self._proposal.body, list[Guest]()
        if self._offers and self._own is not None and self._merge_info is not None:
            joint = join_offers(self._own, self._offers, table.snapshot, recent, self._merge_info)
            make_body, guests = joint.body, joint.guests
        self._met_others |= bool(guests)
        note = write_note(self._writer, recent, guests, collects=self._collects)
        return make_body(self._commit_id, now_ms, note)

    def lose(self, request_s: float) -> None:
        """Note a race that was lost by a request of so many seconds, and let others go first.

        Raises OutOfTime.
        """
        self._lost += 1
        self._met_others = True
        self._table.crowd.request_s = min(request_s, _REQUEST_MAX_S)
        writers = count_writers(self._table.recent)
        self._deadline.wait_turn(self._lost, request_s * writers, "commit")

    def wait(self) -> None:
        """Offer the append, if that is not done yet, and wait. Raises OutOfTime."""
        table, deadline = self._table, self._deadline
        low, high = _NEXT_WAIT
        if not self._is_offered and self._offer is not None:
            low, high = _FIRST_WAIT
            try:
                table.offers.put(self._writer, self._offer, deadline)
            except Unavailable as error:
                deadline.failed(error)  # it may be there
            except StoreError:  # the role may not: then this goes on as where nobody takes along
                self._merge_info = None
                self.waits = False
                return
            self._is_offered = True
        self._looks += 1
        self._met_others = True
        longest_s = deadline.left_s / 4  # time is left to look, and to commit by itself
        request_s = min(table.crowd.request_s, longest_s / high)
        deadline.wait_between(low * request_s, high * request_s, "commit")

    def go_on(self, *, came: bool) -> None:
        """Decide what comes next, after a look at the log that did not end the turn.

        `came`: there were new commits.
        """
        table = self._table
        others_collect = table.collector not in (None, self._writer)
        may_wait = came and others_collect and self._looks < _LOOKS_MAX
        self.waits = may_wait and self._can_offer()
        # Where others race too, to read offers would be too slow.
        is_quick = not self._is_offered or (came and not others_collect)
        self._offers = []
        if not self.waits and not is_quick:
            self._offers = table.offers.read(self._writer, self._deadline)

    def end(self) -> None:
        """Note that the append has had its turn."""
        crowd = self._table.crowd
        crowd.alone = 0 if self._met_others else crowd.alone + 1
        crowd.ended_s = self._deadline.clock.monotonic()

    @property
    def _collects(self) -> bool:
        """Return whether this is the time to look for offers: many write, and so does this one."""
        crowd = self._table.crowd
        is_busy = self._began_s - crowd.ended_s < _BUSY * crowd.request_s
        is_crowded = self._met_others or crowd.alone < _ALONE
        may = self._merge_info is not None and is_busy and is_crowded
        return may and count_writers(self._table.recent) >= _MANY

    def _can_offer(self) -> bool:
        """Return whether the append is, or can be, offered as it was decided."""
        table = self._table
        if self._is_offered:
            return True
        if self._own is None or self._merge_info is None:
            return False
        assert table.snapshot is not None
        now_ms = self._deadline.clock.epoch_ms()
        recent = list(table.recent)
        self._offer = write_offer(
            self._own, self._commit_id, self._writer, table.snapshot, recent, now_ms
        )
        return self._offer is not None
