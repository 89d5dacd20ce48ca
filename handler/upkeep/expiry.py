"""Dead letters that were redriven long ago are removed, where the contract says after how long."""

import pyarrow as pa
import pyarrow.compute as pc

from handler.contract.contract import REDRIVEN_AT
from handler.delta.features import check_rewritable
from handler.delta.retry import Deadline
from handler.delta.rewrite import active_files
from handler.upkeep.compaction import Compaction, Purpose
from handler.upkeep.due import Bin


def expire(compaction: Compaction, deadline: Deadline) -> None:
    """Remove the dead letters that were redriven longer ago than the contract keeps them.

    One that is open is never removed. Raises what `Compaction.run` raises, and
    UnsupportedTable for a table whose rows may not be removed.
    """
    expire_ms = compaction.upkeep.expire_ms
    if expire_ms is None:
        return
    before_us = (deadline.clock.epoch_ms() - expire_ms) * 1000
    bins = [
        Bin(file.partition_values, (file,))
        for file in active_files(compaction.table)
        if file.is_rewritable and file.oldest_us is not None and file.oldest_us < before_us
    ]
    if not bins:
        return
    check_rewritable(compaction.table.known(deadline), compaction.table.name, data_change=True)

    def keep(rows: pa.Table) -> pa.Table:
        moment = pa.scalar(before_us, pa.timestamp("us", "UTC"))
        old = pc.fill_null(pc.less(rows[REDRIVEN_AT], moment), False)
        return rows.filter(pc.invert(old))

    compaction.run(bins, deadline, Purpose("DELETE", keep))
