"""silt dev: the local event source mapping, from a Kafka topic to a Delta table."""

import argparse
import time
from pathlib import Path

from confluent_kafka import KafkaException

from handler.contract.load import load_contracts
from handler.errors import SiltError, counted
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.deployment.deploy_yml import CONTRACTS
from silt.local.destinations import Destination
from silt.local.filters import Filters
from silt.local.mapping import MappingConfig
from silt.local.pollers import LocalMapping, LocalSettings

EXAMPLE = """example:
  silt dev --bootstrap-servers localhost:9092 --topic orders --table-root .silt/tables

It follows AWS's mapping: batches, window, 6 MB, one invocation of a partition at a time, partial
failures, retries. The function runs in the real Lambda runtime client. Ctrl-C ends it; what was
in progress is read again next time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--bootstrap-servers", required=True, help="host:port, comma-separated")
    parser.add_argument("--topic", required=True, help="the topic; a contract must name it")
    parser.add_argument("--table-root", default=".silt/tables", help="where the tables are")
    parser.add_argument("--contracts", default=CONTRACTS, help="folder of contracts")
    parser.add_argument("--group-id", default="silt-dev", help="consumer group that keeps offsets")
    parser.add_argument("--source", default="local", help="names the cluster in stream ids")
    parser.add_argument("--batch-size", type=int, default=100, help="BatchSize, 1 to 10000")
    parser.add_argument("--window", type=float, default=0.5, help="batching window in seconds")
    parser.add_argument("--pollers", type=int, default=1, help="pollers, each with a sandbox")
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="timeout of the function in seconds"
    )
    parser.add_argument("--retries", type=int, default=-1, help="MaximumRetryAttempts, -1: endless")
    parser.add_argument(
        "--max-age", type=int, default=-1, help="MaximumRecordAgeInSeconds, -1: endless"
    )
    parser.add_argument("--bisect", action="store_true", help="BisectBatchOnFunctionError")
    parser.add_argument(
        "--no-partial-responses",
        action="store_true",
        help="a mapping without ReportBatchItemFailures: the function raises instead",
    )
    parser.add_argument(
        "--filter", action="append", default=[], metavar="PATTERN", help="a filter; may repeat"
    )
    parser.add_argument(
        "--on-failure", metavar="PLACE", help="folder or s3:// URI for batches that are given up"
    )
    parser.add_argument(
        "--on-failure-shape",
        choices=["s3", "sqs"],
        default="s3",
        help="what is kept of them: s3, with the records; sqs, which records they were",
    )
    parser.add_argument(
        "--concurrency", type=int, help="reserved concurrency: more at once are throttled"
    )
    parser.add_argument(
        "--starting-position",
        choices=["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"],
        default="TRIM_HORIZON",
        help="where to begin if the group has no offset",
    )
    parser.add_argument("--starting-timestamp", type=int, default=0, help="ms since 1970")
    parser.add_argument(
        "--until-idle", type=float, help="stop after this many seconds without a record"
    )
    parser.add_argument(
        "--log", type=Path, default=Path(".silt/function.log"), help="function's log"
    )


def run(options: argparse.Namespace) -> int:
    """Run the mapping until Ctrl-C, or until it is idle. Returns 1 if batches were given up."""
    contracts = load_contracts(options.contracts)
    if options.topic not in contracts:
        raise UsageError(
            f"There is no contract for {options.topic!r} in {options.contracts}, only for "
            f"{', '.join(sorted(contracts))}."
        )
    use_credentials_for(options.table_root)
    if options.on_failure:
        use_credentials_for(options.on_failure)
    settings, config = _settings(options)
    try:
        mapping = LocalMapping(settings, config, tell=output.complain)
    except KafkaException as error:
        raise SiltError(f"Kafka at {options.bootstrap_servers} does not answer: {error}") from error
    output.say(f"Reading {options.topic} into {options.table_root}. Ctrl-C ends it.")
    mapping.start()
    try:
        _watch(mapping, options.until_idle)
    except KeyboardInterrupt:
        output.say("Ending.")
    except KafkaException as error:
        raise SiltError(f"Kafka at {options.bootstrap_servers} failed: {error}") from error
    finally:
        mapping.close()
    progress = mapping.progress
    output.say(
        f"{counted(mapping.records, 'record')} settled by "
        f"{counted(sum(p.invocations for p in progress), 'invocation')}; "
        f"{counted(sum(p.retries for p in progress), 'retry', 'retries')}. The function's log: "
        f"{options.log}"
    )
    return int(any(p.given_up for p in progress))


def _settings(options: argparse.Namespace) -> tuple[LocalSettings, MappingConfig]:
    place, shape = options.on_failure, options.on_failure_shape
    try:
        config = MappingConfig(
            batch_size=options.batch_size,
            maximum_batching_window_s=options.window,
            maximum_retry_attempts=options.retries,
            maximum_record_age_s=options.max_age,
            bisect_batch_on_function_error=options.bisect,
            report_batch_item_failures=not options.no_partial_responses,
            filters=Filters(options.filter),
            on_failure=Destination(place, shape) if place is not None else None,
        )
        if options.pollers < 1:
            raise ValueError("at least 1 poller is needed: with 0 nothing would be read")
        if options.concurrency is not None and options.concurrency < 1:
            raise ValueError(
                "the reserved concurrency must be at least 1: with 0 nothing would run"
            )
    except ValueError as error:
        raise UsageError(str(error)) from error
    root = options.table_root
    settings = LocalSettings(
        servers=options.bootstrap_servers,
        topic=options.topic,
        group_id=options.group_id,
        environment={
            "SILT_TABLE_ROOT": root if "://" in root else str(Path(root).absolute()),
            "SILT_CONTRACTS": str(Path(options.contracts).absolute()),
            # Bootstrap servers change from one local run to the next; the cluster does not.
            "SILT_SOURCE": options.source,
            "SILT_PARTIAL_BATCH_RESPONSE": str(not options.no_partial_responses).lower(),
        },
        pollers=options.pollers,
        reserved_concurrency=options.concurrency,
        timeout_s=options.timeout,
        starting_position=options.starting_position,
        starting_timestamp_ms=options.starting_timestamp,
        log=options.log,
    )
    return settings, config


def _watch(mapping: LocalMapping, until_idle_s: float | None) -> None:
    """Print progress until nothing has come for a while."""
    settled, since = 0, time.monotonic()
    while True:
        mapping.check()
        if mapping.busy:
            since = time.monotonic()
        if mapping.records != settled:
            settled, since = mapping.records, time.monotonic()
            output.say(f"{counted(settled, 'record')} settled")
        if until_idle_s is not None and time.monotonic() - since > until_idle_s:
            return
        time.sleep(0.2)
