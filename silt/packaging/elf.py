"""Shared libraries without what nothing loads: symbol tables, debug notes, section headers."""

import struct

_MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""The ELF header of a 64-bit file: 'ELF Header' of the System V ABI."""
_SEGMENT = struct.Struct("<IIQQQQQQ")


def strip(data: bytes) -> bytes:
    """Return a shared library cut off after the last byte that the loader maps.

    What a loader reads is named by the program headers alone; sections are for linkers and
    debuggers, and lie behind. So every segment stays as it is, byte for byte, on any machine: no
    tool of the target's is needed. A file of another kind is returned unchanged.
    """
    if not data.startswith(_MAGIC_64_LITTLE):
        return data
    header = list(_HEADER.unpack_from(data))
    offset, size, count = header[5], header[9], header[10]
    end = offset + size * count
    for i in range(count):
        segment = _SEGMENT.unpack_from(data, offset + size * i)
        end = max(end, segment[2] + segment[5])
    header[6] = 0  # e_shoff: there is no table of sections
    header[11:14] = (_SECTION_SIZE, 0, 0)
    return _HEADER.pack(*header) + data[_HEADER.size : end]


_SECTION_SIZE = 64
"""What glibc, and every tool, expects of e_shentsize even where there are no sections."""
