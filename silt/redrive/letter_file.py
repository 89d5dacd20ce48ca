"""One file of dead letters at work: which are chosen, and what becomes of each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from handler.contract.contract import ROW
from handler.contract.where import RULE as WHERE
from handler.delta.active import ActiveFile
from handler.errors import Problem, RejectCode
from handler.kafka.offsets import Stream
from handler.sink.outcomes import TOMBSTONE_RULE, Outcome, Plan
from silt.redrive.closings import Closings
from silt.redrive.letters import Letter, LetterBatch, batches_of, read_letters
from silt.redrive.origins import Origins, UnknownStream
from silt.redrive.redrive_report import RedriveReport
from silt.redrive.selection import Selection

UNKNOWN_STREAM = "unknown_stream"
"""In place of a reject code: nobody knows any more which stream a letter came from."""
_NO_PLACE = Problem(
    RejectCode.OUT_OF_RANGE, "", "the dead letter has no topic, partition or offset"
)
_NO_TIMESTAMP = Problem(
    RejectCode.OUT_OF_RANGE,
    "_kafka_timestamp",
    "the record's timestamp is one that no table can store",
)


@dataclass(slots=True)
class LetterFile:
    """A file, its closings, and the letters in `pending`, which are chosen and not settled yet."""

    file: ActiveFile
    report: RedriveReport
    closings: Closings = field(default_factory=Closings)
    pending: list[Letter] = field(default_factory=list)
    pending_bytes: int = 0

    def choose(self, rows: pa.Table, selection: Selection, room: int | None) -> int:
        """Take the chosen letters of the next rows of the file, at most `room` of them.

        Returns how many it took.
        """
        first = len(self.closings)
        self.closings.extend(rows.num_rows)
        mask = selection.choose(rows).combine_chunks()
        indices = pa.array(range(rows.num_rows), pa.int64()).filter(mask)
        if room is not None:
            indices = indices[:room]
        if len(indices):
            chosen = rows.take(indices)
            self.pending += read_letters(chosen, [first + i for i in indices.to_pylist()])
            self.pending_bytes += chosen.nbytes
        return len(indices)

    def take_pending(self, origins: Origins) -> list[LetterBatch]:
        """Return the pending letters as batches; note those that can be in none, which stay."""
        letters, self.pending, self.pending_bytes = self.pending, [], 0
        sound = []
        for letter in letters:
            self.report.of(letter.code).selected += 1
            if None in letter.place:
                self.report.add_rejected(letter, [_NO_PLACE])
            elif letter.record.timestamp is None:
                self.report.add_rejected(letter, [_NO_TIMESTAMP])
            else:
                sound.append(letter)
        streams = self._streams(sound, origins)
        known = [letter for letter in sound if letter.place[:2] in streams]
        for letter in sound:
            if letter.place[:2] not in streams:
                self.report.of(letter.code).rejected[UNKNOWN_STREAM] += 1
        return list(batches_of(known, lambda letter: streams[letter.place[:2]]))

    def _streams(
        self, letters: Sequence[Letter], origins: Origins
    ) -> dict[tuple[str, int], Stream]:
        streams = dict[tuple[str, int], Stream]()
        for topic, partition in sorted({letter.place[:2] for letter in letters}):
            try:
                streams[topic, partition] = origins.stream_of(topic, partition, self.file.key)
            except UnknownStream as error:
                self.report.note(str(error))
        return streams

    def settle(self, batch: LetterBatch, decided: Plan) -> None:
        """Note what became of each letter of a batch."""
        for i, letter in enumerate(batch.letters):
            of_code = self.report.of(letter.code)
            match decided.outcomes[i]:
                case Outcome.APPEND | Outcome.DUPLICATE:
                    of_code.redriven += 1
                    self.closings.close(letter.position, ROW)
                case Outcome.SKIP:
                    of_code.dropped += 1
                    rule = TOMBSTONE_RULE if letter.record.value is None else WHERE
                    self.closings.close(letter.position, rule)
                case _:
                    self.report.add_rejected(letter, decided.problems[i])
