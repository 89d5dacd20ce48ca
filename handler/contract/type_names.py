"""Names of types: those of Delta, and what others call them."""

import re

from handler.contract.reporting import nearest
from handler.contract.reserved import NESTED
from handler.delta.types import PRIMITIVES

ELSEWHERE = {
    "text": "string",
    "varchar": "string",
    "str": "string",
    "uuid": "string",
    "jsonb": "json",
    "variant": "json",
    "bigint": "long",
    "int64": "long",
    "int": "integer",
    "int32": "integer",
    "smallint": "short",
    "int16": "short",
    "tinyint": "byte",
    "int8": "byte",
    "real": "float",
    "float32": "float",
    "float64": "double",
    "number": "double",
    "numeric": "decimal(12,2)",
    "bool": "boolean",
    "bytes": "binary",
    "datetime": "timestamp",
    "timestamptz": "timestamp",
    "object": "struct",
    "record": "struct",
    "list": "array",
}
"""What types are called in SQL, Avro, Arrow and JSON Schema, and what they are here."""
_CUT_DECIMAL = re.compile(r"decimal\([0-9]+")
"""What is left of decimal(12,2) in braces without quotes: YAML ends the value at the comma."""


def explain_unknown_type(word: str) -> str:
    """Return the end of a message about an unknown type: the likely one, and all of them."""
    if _CUT_DECIMAL.fullmatch(word):
        return (
            ": inside braces a comma ends the value. Put the type in quotes, as in "
            '{type: "decimal(12,2)"}'
        )
    if word.startswith("decimal"):
        return (
            ". Expected decimal(p,s) with p from 1 to 38 and s from 0 to p, such as decimal(12,2)"
        )
    types = [*PRIMITIVES, "decimal(p,s)", "json", *NESTED]
    bare = word.partition("(")[0].lower()
    likely = bare if bare in types else ELSEWHERE.get(bare)
    hint = f". Did you mean {likely!r}?" if likely is not None else nearest(bare, types)
    return f"{hint or '.'} Types are {', '.join(types)}"
