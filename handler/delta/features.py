"""Which tables Silt may write to, by the features of their protocol, each by its name.

An append and a rewrite ask for different things: a feature that an append need not know may forbid
to remove a file (Delta protocol, 'Valid Feature Names in Table Features').
"""

from collections.abc import Sequence

from handler.delta.log import Metadata, Protocol, Snapshot
from handler.delta.types import Array, DataType, Field, Map, Primitive, Struct
from handler.errors import BrokenLog, UnsupportedTable

# What these ask of a writer is nothing for an append, or is looked for in the metadata below.
_WRITER_FEATURES = frozenset(
    (
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "generatedColumns",
        "columnMapping",
        "identityColumns",
        "deletionVectors",
        "timestampNtz",
        "domainMetadata",
        "vacuumProtocolCheck",
    )
)
_READER_FEATURES = frozenset(
    ("columnMapping", "deletionVectors", "timestampNtz", "vacuumProtocolCheck")
)
_ROW_CHANGES_REFUSED = {
    "delta.appendOnly": "appendOnly",
    "delta.enableChangeDataFeed": "changeDataFeed",
}
"""Properties under which an append is plain, and a rewrite that changes rows is not: the one
forbids it, the other asks for files of what changed."""
_FIELD_MARKS = {
    "delta.generationExpression": "generated columns",
    "delta.identity.start": "identity columns",
    "delta.invariants": "column invariants",
    "CURRENT_DEFAULT": "default columns",
}


def check_appendable(snapshot: Snapshot, table: str) -> None:
    """Refuse a table whose protocol asks a writer for what we do not know, by name.

    Raises UnsupportedTable.
    """
    protocol, metadata = snapshot.protocol, snapshot.metadata
    if protocol is None or metadata is None:
        raise BrokenLog(f"The log of {table} has no protocol or no metadata.")
    refused = list[str]()
    if protocol.min_reader > 3 or protocol.min_writer > 7:
        refused.append(f"protocol {protocol.min_reader}/{protocol.min_writer}")
    refused += sorted(set(protocol.reader_features) - _READER_FEATURES)
    refused += sorted(set(protocol.writer_features) - _WRITER_FEATURES - set(refused))
    configuration = metadata.configuration
    refused += [
        f"check constraint {name.removeprefix('delta.constraints.')}"
        for name in configuration
        if name.startswith("delta.constraints.")
    ]
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        refused.append("columnMapping")
    refused += _marks(metadata.fields)
    if refused:
        raise UnsupportedTable(
            f"Table {table} uses {', '.join(dict.fromkeys(refused))}, which Silt does not write. "
            "Nothing was written. See troubleshooting.md#unsupported-table"
        )


def check_rewritable(snapshot: Snapshot, table: str, *, data_change: bool) -> None:
    """Refuse a table whose files may not be replaced, by name.

    What only moves rows from file to file (`data_change` is false) is allowed where no row may be
    deleted, and is no change that a feed would have to report. Raises UnsupportedTable.
    """
    check_appendable(snapshot, table)
    if not data_change:
        return
    assert snapshot.metadata is not None
    properties = snapshot.metadata.configuration
    refused = [
        f"{feature} ({name})"
        for name, feature in _ROW_CHANGES_REFUSED.items()
        if properties.get(name, "false").lower() == "true"
    ]
    if refused:
        raise UnsupportedTable(
            f"Table {table} uses {', '.join(refused)}, with which Silt does not rewrite rows. "
            f"Nothing "
            "was written. See troubleshooting.md#unsupported-table"
        )


def _marks(fields: Sequence[Field]) -> list[str]:
    """Return the features that fields use by their own metadata, parts of structs included."""
    result = []
    for f in fields:
        result += [name for mark, name in _FIELD_MARKS.items() if mark in f.metadata]
        if isinstance(f.type, Struct):
            result += _marks(f.type.fields)
    return result


_LEGACY_WRITER = (
    (2, ("appendOnly", "invariants")),
    (3, ("checkConstraints",)),
    (4, ("changeDataFeed", "generatedColumns")),
    (5, ("columnMapping",)),
    (6, ("identityColumns",)),
)


def protocol_for(metadata: Metadata, protocol: Protocol | None) -> Protocol | None:
    """Return the protocol that a table needs for its schema, None where the present one does.

    The one feature that a type of Silt's needs is timestampNtz. A table of an older protocol gets
    its features listed by name, as the protocol asks for when a table moves to 3/7.
    """
    needs_ntz = any(_holds_ntz(f.type) for f in metadata.fields)
    if protocol is None:
        if not needs_ntz:
            return Protocol()
        return Protocol(3, 7, ("timestampNtz",), ("timestampNtz",))
    if not needs_ntz or "timestampNtz" in protocol.writer_features:
        return None
    writer = set(protocol.writer_features)
    if protocol.min_writer < 7:
        for version, names in _LEGACY_WRITER:
            if version <= protocol.min_writer:
                writer.update(names)
    reader = set(protocol.reader_features)
    if protocol.min_reader == 2:
        reader.add("columnMapping")
    ntz = {"timestampNtz"}
    return Protocol(3, 7, tuple(sorted(reader | ntz)), tuple(sorted(writer | ntz)))


def _holds_ntz(data_type: DataType) -> bool:
    match data_type:
        case Primitive(name):
            return name == "timestamp_ntz"
        case Struct(fields):
            return any(_holds_ntz(f.type) for f in fields)
        case Array(element):
            return _holds_ntz(element)
        case Map(value, key):
            return _holds_ntz(value) or _holds_ntz(key)
