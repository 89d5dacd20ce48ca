"""make readers: every reader on every table; its result becomes the table of docs/query.md."""

import sys
import tempfile
from pathlib import Path

from tests.builders import ROOT
from tests.readers import spark
from tests.readers.exceptions import KNOWN, over, unexplained
from tests.readers.matrix import Difference, differences_of, questions_of
from tests.readers.read import READERS
from tests.readers.tables import LONG
from tests.real import jars

PAGE = ROOT / "docs" / "query.md"
BEGIN, END = "<!-- readers: begin -->\n", "<!-- readers: end -->\n"


def main() -> int:
    """Run the matrix. Returns 1 if a reader shows something that is not explained."""
    readers = (*READERS, *spark.POMS) if jars.available() else tuple(READERS)
    with tempfile.TemporaryDirectory() as name:
        questions = []
        for number, (kind, make) in enumerate(LONG.items()):
            folder = Path(name) / str(number)
            folder.mkdir()
            sys.stderr.write(f"making: {kind}\n")
            questions += questions_of(make(folder))
        sys.stderr.write("reading ...\n")
        others = dict.fromkeys(spark.POMS, spark.ask_spark)
        differences = differences_of(readers, questions, Path(name), others)
        predicates = sum(len(list(question.predicates())) for question in questions)
    wrong = unexplained(differences)
    for each in wrong:
        sys.stderr.write(f"{each}\n")
    for known in over(differences, readers, list(LONG)):
        sys.stderr.write(f"not seen any more: {known}\n")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table(readers, differences, predicates) + END + after)
    return int(bool(wrong))


def table(readers: tuple[str, ...], differences: list[Difference], predicates: int) -> str:
    """Return the table "reader by kind of table" as Markdown, with notes."""
    lines = [
        f"{predicates:,} filters and every value, on fresh tables and after maintenance.",
        "",
        "| table | " + " | ".join(readers) + " |",
        "|---" * (len(readers) + 1) + "|",
    ]
    for kind in LONG:
        cells = []
        for reader in readers:
            notes = [
                str(number)
                for number, known in enumerate(KNOWN, 1)
                if (known.reader, known.kind) == (reader, kind)
            ]
            seen = [each for each in differences if (each.reader, each.kind) == (reader, kind)]
            cells.append(
                "yes"
                if not seen
                else "wrong"
                if unexplained(seen)
                else f"yes, but {', '.join(notes)}"
            )
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{number}. {known.reader}: {known.note}." for number, known in enumerate(KNOWN, 1)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
