"""What costs how much: CPU ratios within this process, with wide margins. Measured for real in benchmarks/."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import answers
from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.stages import normalise, rows


def cpu(call: Callable[[], object]) -> float:
    """The least of some runs, in CPU seconds."""

    def once() -> float:
        begun = time.process_time()
        call()
        return time.process_time() - begun

    return min(once() for _ in range(3))


# Measured, of half a million rows: 0.7 and 3.2. A loop over rows would come to 8 and more (docs/benchmarks.md).
@pytest.mark.parametrize(("vendor", "most"), [("launchdarkly", 3), ("aveva", 6)])
def test_normalising_costs_little_above_parsing_and_writing(vendor: str, most: float, tmp_path: Path) -> None:
    endpoint, landings = answers.endpoint(vendor), list(answers.landings(vendor, 200_000))

    def read() -> list[pa.Table]:
        return [
            part for landing in landings for part in normalise.parts(endpoint, landing, endpoint.normalise(landing))
        ]

    table = pa.Table.from_batches(rows.gathered(read()), schema(USAGE))
    assert table.num_rows > 190_000

    def floor() -> None:
        for landing in landings:
            for answer in landing.answers:
                msgspec.json.decode(answer.body)
        pq.write_table(table, tmp_path / "floor.parquet", compression="zstd")

    assert cpu(read) <= most * cpu(floor)
