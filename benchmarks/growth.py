"""What one daily load costs while the table grows from 1 to 36 months: flat within 20 %.

The load replaces one vendor's newest day, as the schedule does every morning; publication follows it. The rest of the
time is Delta's: reading the log, finding the files of the month, the commit.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import fleet
from benchmarks.measure import Cost, interleaved, of_call, record
from usage_pipeline.contract.vendor import Account
from usage_pipeline.stages.lake import Lake
from usage_pipeline.stages.load import usage
from usage_pipeline.stages.publish import publish
from usage_pipeline.stages.replay import Told
from usage_pipeline.vendors.registry import VENDORS

TARGET = 1.2
SIZES = (1, 12, 24, 36)
ACCOUNT = Account("thousandeyes-0", "thousandeyes", "https://api.thousandeyes.com", fleet.FIRST)
ENDPOINT = VENDORS[ACCOUNT.vendor].endpoint("units_tests")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=5e6, help="of three years")
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        homes = {f"{size} months": Path(temporary, str(size)) for size in SIZES}
        for size, home in zip(SIZES, homes.values(), strict=True):
            fleet.write(Lake(str(home)), int(asked.rows), size)
            publish(Lake(str(home)), home, VENDORS.values())
        tolds = {name: told(fleet.months(size)[-1], int(asked.rows)) for name, size in zip(homes, SIZES, strict=True)}

        def load(name: str) -> Cost:
            return of_call(lambda: usage(Lake(str(homes[name])), ENDPOINT, ACCOUNT, lambda: tolds[name]))

        def published(name: str) -> Cost:
            return of_call(lambda: publish(Lake(str(homes[name])), homes[name], VENDORS.values()))

        turns = {f"load, {name}": functools.partial(load, name) for name in homes}
        turns |= {f"publish, {name}": functools.partial(published, name) for name in homes}
        costs = interleaved(turns, asked.repeat)
        for what, cost in costs.items():
            first = costs[f"{what.partition(',')[0]}, {SIZES[0]} months"]
            record("growth", case=what, rows=int(asked.rows), cost=cost, ratio=cost.cpu / first.cpu, target=TARGET)


def told(month: date, rows: int) -> Told:
    """What the vendor says again of a day of the month, read from another answer."""
    day = month.replace(day=28)
    found = fleet.month_of(ACCOUNT.vendor, month, rows).filter(
        (pc.field("usage_date") == day)
        & (pc.field("account") == ACCOUNT.name)
        & (pc.field("endpoint") == ENDPOINT.slug)
    )
    again = pa.repeat(pa.scalar("again", pa.string()), found.num_rows)
    told = Told(fetched={day: datetime(month.year, month.month, 28, 12, tzinfo=UTC)})
    told.rows.add([found.set_column(found.schema.get_field_index("response_id"), "response_id", again)])
    return told
