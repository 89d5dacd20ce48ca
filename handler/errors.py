"""Everything that can go wrong, on one page.

    SiltError
    ├── SettingsError       a SILT_ variable is unknown or bad; the function does not start
    ├── ContractError       contracts do not parse or contradict each other; lists every problem
    ├── EventError          the event is not a Kafka event, or contradicts itself
    ├── UnknownTopic        no contract for the topic of the event
    ├── TopicRecreated      a stream's offsets started again
    ├── SourceMismatch      a second source or topic would feed one table
    ├── Superseded          another version of the contract took over the table
    ├── TableError          the table cannot be appended to
    │   ├── UnsupportedTable    its protocol asks for what Silt does not know
    │   ├── TableMismatch       its schema does not fit the contract; lists the differences
    │   ├── BrokenLog           its log cannot be read as the Delta protocol says
    │   └── DataFileMissing     a look-up needs a data file that is not there
    ├── StoreError          the object store answered with an error
    │   ├── NotFound            there is no such object
    │   ├── AlreadyExists       a put-if-absent found the object there
    │   ├── AccessDenied        credentials or permissions
    │   ├── BadStore            the URI or the options of the store are wrong
    │   └── Unavailable         may pass: timeouts, 5xx, throttling, a lost connection
    ├── EngineFailed        the Delta engine, which maintains tables, could not do its work
    ├── MaintenanceFailed   a table could not be maintained; the others were
    ├── OutOfTime           the deadline came first; nothing of it is reported as settled
    ├── AccountingBroken    the counts of an invocation do not add up
    └── Unsettled           records stayed unsettled and the mapping honors no partial response

Reject codes are the closed list of reasons for which a single record is refused; `docs/dead-
letters.md` has a line for each.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things, such as `1 record` or `2,000 records`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


class SiltError(Exception):
    """The base of every error that Silt raises on purpose."""


class SettingsError(SiltError):
    """A SILT_ variable is unknown, missing or bad."""


class ContractError(SiltError):
    """One or more contracts are wrong. `problems` holds a line for each, file and line first."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = counted(len(self.problems), "problem")
        super().__init__(f"{count} in the contracts:\n" + "\n".join(problems))


class EventError(SiltError):
    """The event is not what an event source mapping for Kafka sends."""


class UnknownTopic(SiltError):
    """No contract names the topic of the event."""


class TopicRecreated(SiltError):
    """A stream delivers other records under offsets that were passed already."""


class SourceMismatch(SiltError):
    """The table is fed by another source cluster or topic."""


class Superseded(SiltError):
    """Another version of the contract has taken the table over since this invocation began."""


class TableError(SiltError):
    """The table cannot be appended to as it is."""


class UnsupportedTable(TableError):
    """The table's protocol asks a writer for something that Silt does not know."""


class TableMismatch(TableError):
    """The table's schema does not fit the contract. `differences` has a line for each."""

    def __init__(self, table: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        listed = "".join(f"\n  - {line}" for line in differences)
        super().__init__(
            f"Table {table} does not fit its contract:{listed}\nNothing was written. "
            "See troubleshooting.md#table-does-not-fit"
        )


class BrokenLog(TableError):
    """The table's log has a gap or an entry that is not Delta."""


class DataFileMissing(TableError):
    """A data file that the log names is not there, and a look-up needs it."""


class StoreError(SiltError):
    """The object store answered with an error."""


class NotFound(StoreError):
    """There is no object of that key."""


class AlreadyExists(StoreError):
    """A put-if-absent found an object of that key."""


class AccessDenied(StoreError):
    """The store refused the credentials or the permission."""


class BadStore(StoreError):
    """The table's URI or the options of its store are wrong; trying again does not help."""


class Unavailable(StoreError):
    """The store did not answer, or answered that it could not. The outcome of a put is unknown."""


class EngineFailed(SiltError):
    """The Delta engine could not do what it was asked. `kind` is the name of its error."""

    def __init__(self, do: str, uri: str, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(
            f"The Delta engine could not {do} {uri}: {kind}: {message}. No row is lost or "
            f"duplicated; the next run tries again: troubleshooting.md#engine-failed"
        )


class MaintenanceFailed(SiltError):
    """Some tables could not be maintained; each is in the message, with its reason."""


class OutOfTime(SiltError):
    """The deadline came first. What was not seen to be committed is reported as unsettled."""


class AccountingBroken(SiltError):
    """delivered != appended + dead_lettered + skipped_by_rule + duplicates + unsettled."""


class Unsettled(SiltError):
    """Raised in place of a partial batch response, after what is good has been committed."""


class RejectCode(StrEnum):
    """Why a record is refused."""

    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    DUPLICATE_KEY = "duplicate_key"
    NOT_AN_OBJECT = "not_an_object"
    TOMBSTONE = "tombstone"
    MISSING = "missing"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    INEXACT = "inexact"
    NOT_ALLOWED = "not_allowed"
    LENGTH = "length"
    PATTERN = "pattern"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_DATE = "bad_date"
    BAD_DECIMAL = "bad_decimal"
    BAD_BINARY = "bad_binary"
    UNKNOWN_FIELD = "unknown_field"
    AMBIGUOUS_SOURCE = "ambiguous_source"
    NOT_TEXT = "not_text"


PROBLEMS_MAX = 20
"""At most so many problems of one record are listed."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with one record: never holds a value of the record."""

    code: RejectCode
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message} [{self.code}]"
