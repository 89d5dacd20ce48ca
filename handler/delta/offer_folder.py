"""Where writers of a table put what they offer to each other."""

from functools import partial

import msgspec

from handler.delta.offers import BYTES_MAX, OFFERS_MAX, Offer, parse_offer
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry, Store
from handler.errors import StoreError

FOLDER = "_silt_offers"
"""Below the table's folder. Engines ignore what begins with an underscore, a vacuum too."""
AGE_MAX_MS = 5 * 60_000
"""An older offer is not read: a vacuum may have deleted its data files, which no snapshot names. A
clock that is wrong makes a sandbox ignore offers, if it is not wrong by the age of one."""
_READ_MAX_S = 2.0
"""To read offers takes no longer: what has not come by then is left out."""
KEPT_MS = 3_600_000
"""Maintenance deletes offers that are older."""


class OfferFolder(msgspec.Struct):
    """The offers of one table. A sandbox has one at a time, under its name.

    `known` are those that this sandbox has read, by ETag; None for an object that is not one.
    """

    store: Store
    pool: Pool
    known: dict[str | None, Offer | None] = msgspec.field(default_factory=dict)

    def put(self, writer: str, offer: bytes, deadline: Deadline) -> None:
        """Offer an append, in place of the one before. Raises StoreError."""
        put = partial(self.store.put, offer_key(writer), offer)
        self.pool.one(put, deadline.left_s)

    def read(self, writer: str, deadline: Deadline) -> list[Offer]:
        """Return what others than `writer` offer: 2 requests in sequence, one while nobody does,
        the newest first.

        What cannot be read is left out: its owner commits it.
        """
        call = partial(self.store.list, FOLDER, f"{FOLDER}/")
        (listing,) = self.pool.at_once([call], _bounded(deadline))
        if isinstance(listing, StoreError):
            return []
        now_ms, own = deadline.clock.epoch_ms(), offer_key(writer)
        usable = [e for e in listing if e.key != own and _is_usable(e, now_ms)]
        usable.sort(key=lambda entry: -entry.modified_ms)
        listed = {entry.e_tag: entry.key for entry in usable}
        new = [e_tag for e_tag in listed if e_tag not in self.known][:OFFERS_MAX]
        calls = [partial(self.store.get, listed[e_tag]) for e_tag in new]
        read = dict[str | None, Offer | None]()
        for answer in self.pool.at_once(calls, _bounded(deadline)):
            if not isinstance(answer, StoreError):
                read[answer.e_tag] = parse_offer(answer.data)
        self.known = {**read, **{e: offer for e, offer in self.known.items() if e in listed}}
        return [offer for offer in self.known.values() if offer is not None]

    def delete_old(self, deadline: Deadline) -> None:
        """Delete offers that no sandbox reads any more. To delete one that is read is harmless: its
        owner commits it. Raises StoreError or OutOfTime.
        """
        listing = partial(self.store.list, FOLDER, f"{FOLDER}/")
        (entries,) = request_all([listing], self.pool, deadline, "list offers")
        since_ms = deadline.clock.epoch_ms() - KEPT_MS
        keys = [entry.key for entry in entries if entry.modified_ms < since_ms]
        if keys:
            deletion = partial(self.store.delete_all, keys)
            request_all([deletion], self.pool, deadline, "delete offers")


def offer_key(writer: str) -> str:
    """Return the key of a sandbox's offer below the table's folder."""
    return f"{FOLDER}/{writer}.json"


def _bounded(deadline: Deadline) -> float:
    return min(_READ_MAX_S, deadline.left_s / 4)


def _is_usable(entry: Entry, now_ms: int) -> bool:
    return abs(now_ms - entry.modified_ms) < AGE_MAX_MS and entry.size <= BYTES_MAX
