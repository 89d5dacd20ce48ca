"""What of the locked packages never runs in the function, each with its reason."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from silt.packaging.elf import strip

NEVER_RUNS = {
    "bin/*": "commands for a person's machine",
    "*.pyi": "types, for checkers",
    "*/py.typed": "a mark for type checkers",
    "*.pyx": "source of what is compiled",
    "*.pxd": "source of what is compiled",
    "*.pxi": "source of what is compiled",
    "*.h": "source of what is compiled",
    "*.cc": "source of what is compiled",
    "*.cmake": "source of what is compiled",
    "*.dist-info/RECORD": "a list of files, of which many go",
    "*.dist-info/INSTALLER": "who installed it",
    "*.dist-info/REQUESTED": "how it was installed",
    "*.dist-info/sboms/*": "their own, of what was compiled in: the SBOM names the packages",
    ".lock": "of the installer",
    "pyarrow/include/*": "headers",
    "pyarrow/includes/*": "headers",
    "pyarrow/src/*": "source of what is compiled",
    "pyarrow/tests/*": "tests",
    "pyarrow/conftest.py": "tests",
    "pyarrow/_pyarrow_cpp_tests*": "tests",
    # Arrow's own file systems: obstore reads and writes, pyarrow sees bytes.
    "pyarrow/libarrow_s3*": "Arrow's S3",
    "pyarrow/_s3fs*": "Arrow's S3",
    "pyarrow/_gcsfs*": "Arrow's Google Cloud Storage",
    "pyarrow/_azurefs*": "Arrow's Azure",
    "pyarrow/_hdfs*": "Arrow's HDFS",
    # Formats and protocols that the function does not speak. libarrow_substrait.so is not among
    # them: libarrow_python.so is linked against it, and does not load without.
    "pyarrow/libarrow_flight*": "Arrow Flight",
    "pyarrow/libarrow_python_flight*": "Arrow Flight",
    "pyarrow/_flight*": "Arrow Flight",
    "pyarrow/_substrait*": "Substrait plans",
    "pyarrow/_orc*": "ORC",
    "pyarrow/_dataset_orc*": "ORC",
    "pyarrow/_dataset_parquet_encryption*": "encrypted Parquet",
    "pyarrow/_parquet_encryption*": "encrypted Parquet",
    "pyarrow/libarrow_python_parquet_encryption*": "encrypted Parquet",
    # A wheel cannot hold a link, so the library is there three times; its name to the loader is
    # libarrow_python.so.<n>00.
    "pyarrow/libarrow_python.so": "a copy",
    "pyarrow/libarrow_python.so.*.*.*": "a copy",
    "aws_lambda_powertools/event_handler/*": "HTTP routing",
}
"""A pattern for the path below the root of the artifact, and why such files go.

`*` matches slashes too.
"""


def never_runs(path: str) -> bool:
    """Return whether a file of a locked package is left out, by its path with forward slashes."""
    return any(fnmatchcase(path, pattern) for pattern in NEVER_RUNS)


def trim(root: Path) -> None:
    """Take from a folder of packages what never runs, and symbols from its shared libraries."""
    for path in list(files(root)):
        if never_runs(path.relative_to(root).as_posix()):
            path.unlink()
        elif ".so" in path.suffixes:
            path.write_bytes(strip(path.read_bytes()))
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def files(root: Path) -> Iterator[Path]:
    """Give every file below a folder, sorted by its path."""
    yield from sorted(path for path in root.rglob("*") if path.is_file())
