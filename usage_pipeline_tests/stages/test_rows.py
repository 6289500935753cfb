"""Rows on their way: whether they are held or stand in a file is not to be seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from usage_pipeline.contract.arrow import schema
from usage_pipeline.contract.schema import USAGE
from usage_pipeline.stages import rows
from usage_pipeline.stages.rows import Rows
from usage_pipeline_tests.conftest import NOW
from usage_pipeline_tests.stages.test_normalise import AHEAD, DAY, MIDNIGHT, MONTH, READING, block, table, told

SPLIT = pd.DataFrame({"test": ["t1", "t2"]})


@pytest.fixture(params=[0, 1 << 30], ids=["in a file", "in memory"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MEMORY", request.param)


def all_of(found: Rows) -> list[dict[str, object]]:
    return pa.Table.from_batches(found.batches(), schema(USAGE)).to_pylist()  # type: ignore[no-any-return]


@pytest.mark.usefixtures("memory")
def test_rows_come_out_as_they_went_in() -> None:
    parts = [
        table(block(values=(1, 2), series=np.array([1, 0]), dimensions=SPLIT)),
        table(block(values=("3.5",), labels=pd.DataFrame({"name": ["Shop"]}))),
    ]
    found = Rows()
    found.add(parts)
    assert all_of(found) == pa.concat_tables(parts).to_pylist()
    assert all_of(found) == all_of(found)
    assert [float(value) for part in found.tables(["value"]) for value in part["value"].to_pylist()] == [1, 2, 3.5]


@pytest.mark.usefixtures("memory")
def test_of_a_landing_that_is_refused_nothing_stays() -> None:
    def refused() -> Iterator[pa.Table]:
        yield told(NOW, AHEAD, value=2)
        raise ValueError("the second block is wrong")

    found = Rows()
    found.add([told(MIDNIGHT, AHEAD)])
    before = all_of(found), found.outlook
    with pytest.raises(ValueError, match="second block"):
        found.add(refused())
    assert (all_of(found), found.outlook) == before
    found.add([told(NOW, AHEAD, value=3)])
    assert sorted(int(str(row["value"]).partition(".")[0]) for row in all_of(found)) == [1, 3, 3]


@pytest.mark.usefixtures("memory")
def test_the_outlook_on_some_days_is_left_out_and_readings_are_not() -> None:
    found = Rows()
    found.add([told(MIDNIGHT, AHEAD)])
    (day,) = found.outlook
    assert day == (MONTH["end"] - DAY).date()
    left = [part.to_pylist() for part in found.tables(without={day})]
    assert [row["temporality"] for part in left for row in part] == [READING.temporality]


def test_small_parts_are_gathered_into_batches() -> None:
    parts = [told(NOW, AHEAD)] * 3
    assert [batch.num_rows for batch in rows.gathered(parts)] == [6]
    assert list(rows.gathered([])) == []
