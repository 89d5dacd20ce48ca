"""On-failure destinations: what AWS keeps of a batch that it gave up on, in a folder or a bucket.

The documents are AWS's (developer guide, 'Capturing discarded batches'): an S3 destination keeps
the whole event as `payload`, an SQS queue only which records they were.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import boto3
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import SiltError
from silt.local.events import KafkaRecord, encode, event_of

Shape = Literal["s3", "sqs"]
Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded", "MaximumPayloadSizeExceeded"]

FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:silt-local"


class Destination:
    """Where the documents of given-up batches go: a folder, or `s3://bucket/prefix`."""

    def __init__(self, place: str, shape: Shape = "s3") -> None:
        self._place, self._shape = place, shape
        self._mapping_id = str(uuid.uuid4())
        if place.startswith("s3://"):
            self._bucket, _, self._prefix = place.removeprefix("s3://").partition("/")
            self._client = boto3.client("s3")

    def keep(
        self,
        records: Sequence[KafkaRecord],
        source: Mapping[str, str],
        condition: Condition,
        attempts: int,
        now: dt.datetime,
    ) -> str:
        """Keep a batch and return where. Raises SiltError when it cannot be kept."""
        document = document_of(records, source, condition, attempts, now)
        if self._shape == "sqs":
            del document["payload"]
        data = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        moment = now.astimezone(dt.UTC)
        name = f"{moment:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        if self._place.startswith("s3://"):
            key = f"aws/lambda/{self._mapping_id}/{moment:%Y/%m/%d}/{name}"
            key = f"{self._prefix.rstrip('/')}/{key}" if self._prefix else key
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data)
            except (BotoCoreError, ClientError) as error:
                raise SiltError(f"s3://{self._bucket}/{key} cannot be written: {error}") from error
            return f"s3://{self._bucket}/{key}"
        path = Path(self._place) / f"{name}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise SiltError(f"{path} cannot be written: {error}") from error
        return str(path)


def document_of(
    records: Sequence[KafkaRecord],
    source: Mapping[str, str],
    condition: Condition,
    attempts: int,
    now: dt.datetime,
) -> dict[str, Any]:
    """Return what an S3 destination keeps; `attempts` is how often the function was invoked."""
    payload = encode(event_of(records, source))
    groups: dict[str, list[KafkaRecord]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    names = {
        name: source[name] for name in ("eventSourceArn", "bootstrapServers") if name in source
    }
    return {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": FUNCTION_ARN,
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "responseContext": _RESPONSE if attempts else None,
        "version": "1.0",
        "timestamp": _moment(now),
        "KafkaBatchInfo": {
            "batchSize": len(records),
            **names,
            "payloadSize": len(payload),
            "recordInfo": {name: _range(group) for name, group in groups.items()},
        },
        "payload": payload.decode(),
    }


_RESPONSE = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}


def _range(records: Sequence[KafkaRecord]) -> dict[str, Any]:
    first, last = records[0], records[-1]
    return {
        "firstRecordOffset": first.offset,
        "lastRecordOffset": last.offset,
        "firstRecordTimestamp": _moment_of(first.timestamp_ms),
        "lastRecordTimestamp": _moment_of(last.timestamp_ms),
    }


def _moment_of(timestamp_ms: int) -> str | None:
    try:
        return _moment(
            dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=timestamp_ms)
        )
    except OverflowError:  # producers set what they like
        return None


def _moment(moment: dt.datetime) -> str:
    text = moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
