"""delta-spark as a reader of the matrix: its filters, where Java and Maven are.

Its values are compared in tests/real/test_delta_spark.py. A filter takes it some 0.2 s, so it is
asked a share of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.readers.matrix import Question
from tests.real.delta_spark import HERE, Spark

POMS = {
    "delta-spark 4.0": HERE / "pom.xml",
    "delta-spark 3.3": HERE.with_name("spark35") / "pom.xml",
}
SHARE = 40
TYPES = {
    "byte": "TINYINT",
    "short": "SMALLINT",
    "integer": "INT",
    "long": "BIGINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp_ntz": "TIMESTAMP_NTZ",
    "boolean": "BOOLEAN",
}


def ask_spark(name: str, questions: Sequence[Question], folder: Path) -> list[Any]:
    """Have delta-spark answer, one filter after the other."""
    own = folder / name
    own.mkdir()
    spark = Spark(own, POMS[name])
    try:
        # Spark 3 fails on ancient dates without it: docs/query.md.
        spark("sql set spark.sql.parquet.datetimeRebaseModeInRead=CORRECTED")
        return [answer(spark, question) for question in questions]
    finally:
        spark.end()


def answer(spark: Spark, question: Question) -> dict[str, Any]:
    """Do one job; an error is an answer."""
    job = question.job()
    version = "-" if job["version"] is None else job["version"]
    found: list[Any] = []
    for number, predicate in enumerate(job["predicates"]):
        if predicate["op"] in ("=", "<=", ">=") and number % SHARE:
            found.append(None)
            continue
        asked = f"{job['uri']}\t{version}\t{job['id']}\t{condition(predicate)}"
        try:
            found.append(sorted(json.loads(spark(f"ids {asked}"))))
        except AssertionError as error:
            found.append(f"{error!s:.200}")
    return {"answers": found}


def condition(predicate: dict[str, Any]) -> str:
    """Return a filter as Spark reads it, in one line."""
    column = ".".join(f"`{name}`" for name in predicate["path"])
    if "value" not in predicate:
        return f"{column} {predicate['op']}"
    return f"{column} {predicate['op']} {literal(predicate['value'], predicate['type'])}"


def literal(text: Any, type_: str) -> str:
    if type_ == "string":
        return f"decode(unhex('{text.encode().hex()}'), 'UTF-8')"
    if type_ == "binary":
        return f"unhex('{text}')"
    if type_ == "timestamp":
        text += "Z"
    return f"CAST('{text}' AS {TYPES.get(type_) or type_})"
