"""silt dev: the local event source mapping, from a Kafka topic to a Delta table."""

import argparse
import os
from pathlib import Path

from confluent_kafka import KafkaException

from handler.contract.contract import Contract, by_topic
from handler.contract.load import load_contracts
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import OutOfTime, StoreError
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.deployment.deploy_yml import CONTRACTS
from silt.kafka_options import add_broker_arguments, client_of, explain_failure
from silt.local.contract_watch import ContractWatch
from silt.local.destinations import Destination
from silt.local.dev_view import DevView
from silt.local.mapping import MappingConfig, StuckBatch
from silt.local.pollers import LocalMapping, LocalSettings
from silt.table_places import Location, add_place_arguments, place_of

EXAMPLE = """example:
  silt dev --bootstrap-servers localhost:9092 --topic orders --table-root .silt/tables

It follows AWS's mapping: batches, window, 6 MB, one invocation of a partition at a time, partial
failures, retries. The function runs in the real Lambda runtime client. Why records are retried or
rejected is shown at once. A batch that fails three times for the same reason ends the command.
Ctrl-C ends it; what was in progress is read again next time."""

ROOT_LIMIT_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    broker = add_broker_arguments(parser, "where the topic is", required=True)
    broker.add_argument("--topic", required=True, help="the topic; a contract must name it")
    broker.add_argument("--group", default="silt-dev", help="consumer group that keeps offsets")
    broker.add_argument(
        "--source", help="names the cluster in stream ids (or SILT_SOURCE; default: local)"
    )
    add_place_arguments(parser)
    _add_mapping_arguments(parser.add_argument_group("the mapping, by AWS's names"))
    course = parser.add_argument_group("how it goes on, and when it ends")
    course.add_argument(
        "--dry-run",
        action="store_true",
        help="commit nothing and keep no offset, show what would happen",
    )
    course.add_argument(
        "--reload",
        action="store_true",
        help="when a contract is edited, go on by the new one; a batch that fails waits for that",
    )
    course.add_argument(
        "--until-idle", type=float, help="stop after this many seconds without a record"
    )
    course.add_argument(
        "--keep-going",
        action="store_true",
        help="go on when a batch fails three times for the same reason, as AWS does",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument(
        "--log", type=Path, default=Path(".silt/function.log"), help="function's log"
    )


def _add_mapping_arguments(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--batch-size", type=int, default=100, help="BatchSize, 1 to 10000")
    group.add_argument("--window", type=float, default=0.5, help="batching window in seconds")
    group.add_argument("--pollers", type=int, default=1, help="pollers, each with a sandbox")
    group.add_argument(
        "--timeout", type=float, default=60.0, help="timeout of the function in seconds"
    )
    group.add_argument("--retries", type=int, default=-1, help="MaximumRetryAttempts, -1: endless")
    group.add_argument(
        "--max-age", type=int, default=-1, help="MaximumRecordAgeInSeconds, -1: endless"
    )
    group.add_argument("--bisect", action="store_true", help="BisectBatchOnFunctionError")
    group.add_argument(
        "--no-partial-responses",
        action="store_true",
        help="a mapping without ReportBatchItemFailures: the function raises instead",
    )
    group.add_argument(
        "--on-failure", metavar="PLACE", help="folder or s3:// URI for batches that are given up"
    )
    group.add_argument(
        "--on-failure-shape",
        choices=["s3", "sqs"],
        default="s3",
        help="what is kept of them: s3, with the records; sqs, which records they were",
    )
    group.add_argument(
        "--concurrency", type=int, help="reserved concurrency: more at once are throttled"
    )
    group.add_argument(
        "--starting-position",
        choices=["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"],
        default="TRIM_HORIZON",
        help="where to begin if the group has no offset",
    )
    group.add_argument("--starting-timestamp", type=int, default=0, help="ms since 1970")


def run(options: argparse.Namespace) -> int:
    """Run the mapping until Ctrl-C, or until it is idle. Returns 1 if batches were given up, or if
    one failed again and again.
    """
    place = place_of(options)
    place.announce()
    options.table_root, options.contracts = place.root, place.contracts or CONTRACTS
    known = by_topic(load_contracts(options.contracts))
    if options.topic not in known:
        raise UsageError(
            f"There is no contract for {options.topic!r} in {options.contracts}, only for "
            f"{', '.join(sorted(known))}."
        )
    contracts = known[options.topic]
    deployed = place.deployment.stream_source if place.deployment is not None else None
    options.source = options.source or deployed or os.environ.get("SILT_SOURCE", "local")
    use_credentials_for(options.table_root)
    if options.on_failure:
        use_credentials_for(options.on_failure)
    settings, config = _settings(options, place)
    for contract in contracts:
        _check_table_root(contract, options.table_root, makes_it=not options.dry_run)
    servers = options.bootstrap_servers
    say = output.hint if options.json else output.say
    try:
        mapping = LocalMapping(settings, config, tell=output.complain)
    except KafkaException as error:
        raise explain_failure(servers, options.topic, error) from error
    uris = [contract.uri(options.table_root) for contract in contracts]
    say(f"Reading {options.topic} of {servers} into {', '.join(uris)}. Ctrl-C ends it.")
    view = DevView(mapping, options.topic, uris, say, options.dry_run)
    contracts_watch = None
    if options.reload:
        tables = tuple(contract.table for contract in contracts)
        contracts_watch = ContractWatch(Path(options.contracts), options.topic, tables)
    mapping.start()
    stuck: StuckBatch | None = None
    try:
        view.watch(options.until_idle, contracts_watch)
    except KeyboardInterrupt:
        say("Ending.")
    except StuckBatch as error:
        stuck = error
    except KafkaException as error:
        raise explain_failure(servers, options.topic, error) from error
    finally:
        mapping.close()
    if options.json:
        output.as_json(view.summary(str(options.log)))
    else:
        where = f"--table-root {options.table_root} --contracts {options.contracts}"
        commands = [f"silt redrive {contract.table} {where}" for contract in contracts]
        view.summarize(str(options.log), commands)
    if stuck is not None:
        output.complain(
            f"{stuck} Nothing is lost: the offsets were not committed. Fix the cause and start "
            "again; --keep-going retries without end, as AWS does."
        )
    would_block = options.dry_run and mapping.counts["unsettled"]
    return int(bool(stuck or would_block or any(p.given_up for p in mapping.progress)))


def _check_table_root(contract: Contract, root: str, *, makes_it: bool) -> None:
    """Refuse a place where no table can be, before anything is read. Raises UsageError."""
    clock = SystemClock()
    deadline = Deadline(clock, clock.monotonic() + ROOT_LIMIT_S)
    uri = contract.uri(root)
    try:
        if makes_it and "://" not in uri:  # a store would try again what no folder can become
            Path(uri).mkdir(parents=True, exist_ok=True)
        Table(contract.table, open_store(uri), Pool()).read(deadline)
    except (StoreError, OutOfTime, OSError) as error:
        raise UsageError(f"No table can be written to {uri}: {error}") from error


def _settings(options: argparse.Namespace, place: Location) -> tuple[LocalSettings, MappingConfig]:
    kept_in, shape = options.on_failure, options.on_failure_shape
    try:
        config = MappingConfig(
            batch_size=options.batch_size,
            maximum_batching_window_s=options.window,
            maximum_retry_attempts=options.retries,
            maximum_record_age_s=options.max_age,
            bisect_batch_on_function_error=options.bisect,
            report_batch_item_failures=not options.no_partial_responses,
            on_failure=Destination(kept_in, shape) if kept_in is not None else None,
            stops_when_stuck=not (options.keep_going or options.reload),
            dry_run=options.dry_run,
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
        group_id=options.group,
        environment={
            "SILT_TABLE_ROOT": root if "://" in root else str(Path(root).absolute()),
            "SILT_CONTRACTS": str(Path(options.contracts).absolute()),
            # Bootstrap servers change from one local run to the next; the cluster does not.
            "SILT_SOURCE": options.source,
            # A dry run leaves all unsettled, and would raise where it cannot say so.
            "SILT_PARTIAL_BATCH_RESPONSE": str(
                options.dry_run or not options.no_partial_responses
            ).lower(),
            **({"SILT_DRY_RUN": "true"} if options.dry_run else {}),
            **_generation(options.topic, place),
        },
        pollers=options.pollers,
        reserved_concurrency=options.concurrency,
        timeout_s=options.timeout,
        starting_position=options.starting_position,
        starting_timestamp_ms=options.starting_timestamp,
        log=options.log,
        client=client_of(options.kafka, options.bootstrap_servers),
    )
    return settings, config


def _generation(topic: str, place: Location) -> dict[str, str]:
    """Return the generation of a topic as its deployment says it, as a setting."""
    topics = place.deployment.topics if place.deployment is not None else ()
    generations = [each.function.generation for each in topics if each.topic == topic]
    return {"SILT_GENERATION": str(generations[0])} if generations else {}
