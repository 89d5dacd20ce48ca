"""What a reader does wrong by itself: each with the reason, and where its makers know of it.

The matrix fails where a reader differs otherwise than here, and where one of these is over.
"""

from dataclasses import dataclass

from tests.readers.matrix import Difference


@dataclass(frozen=True, slots=True)
class Known:
    """A known difference: how it is recognized, and what a user should know."""

    reader: str
    kind: str
    ages: tuple[str, ...]
    what: str
    detail: str
    note: str

    def explains(self, difference: Difference) -> bool:
        """Return whether a difference is this one."""
        return (
            difference.reader == self.reader
            and difference.kind == self.kind
            and difference.age in self.ages
            and difference.what.startswith(self.what)
            and self.detail in difference.detail
        )


BOTH = ("fresh", "maintained")
KNOWN = (
    Known(
        *("pyarrow dataset", "evolved and widened", ("fresh",), "filter new is ", ""),
        "`is null` on a column that was added later misses the rows of files from before, and `is "
        "not null` shows them, until compaction rewrites these files: deltalake takes a null count "
        "that a file does not have for 0 (as in "
        "[delta-rs 1496](https://github.com/delta-io/delta-rs/issues/1496))",
    ),
    Known(
        *("polars", "nested", BOTH, "filter b.", "structs do not have the same number of fields"),
        "a filter on a part of a struct that also has a binary, array or map part fails, with "
        "tables of deltalake too: no writer has bounds for such parts (see "
        "[polars 27887](https://github.com/pola-rs/polars/pull/27887))",
    ),
    Known(
        *("polars", "partitioned by string", BOTH, "", "a" * 200),
        "a partition value whose folder would be longer than 255 bytes is shown cut, with a hash: "
        "polars reads values from folders "
        "([polars 23391](https://github.com/pola-rs/polars/issues/23391))",
    ),
    Known(
        *("daft", "evolved and widened", ("fresh",), "filter s.t.b", "FieldNotFound"),
        "a filter on a part that a struct gained later fails until compaction rewrites the files "
        "from before: daft looks for it in their own schema",
    ),
    Known(
        *("delta-spark 3.3", "evolved and widened", ("fresh",), "filter ", "SparkException"),
        "a query of a column that was widened from an integer or a float fails until maintenance "
        "has rewritten the files from before, which it does first: Spark 3 does not read a narrow "
        "column as a wider one (as in [spark 44368](https://github.com/apache/spark/pull/44368))",
    ),
)


def unexplained(differences: list[Difference]) -> list[Difference]:
    """Return the differences that no known one explains."""
    return [each for each in differences if not any(k.explains(each) for k in KNOWN)]


def over(differences: list[Difference], readers: tuple[str, ...], kinds: list[str]) -> list[Known]:
    """Return the known differences that were not seen where they should have been."""
    asked = [known for known in KNOWN if known.reader in readers and known.kind in kinds]
    return [known for known in asked if not any(map(known.explains, differences))]
