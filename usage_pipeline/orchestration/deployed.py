"""What is done once before the services of a deployment start: `python -m usage_pipeline.orchestration.deployed`.

Dagster's own storage is brought up to date before, by `dagster instance migrate`.
"""

import os
import time
from datetime import UTC, datetime

import dagster as dg

from usage_pipeline import orchestration, pipeline
from usage_pipeline.orchestration.instance import limit


def main() -> None:
    """Bring the lake to this version, and set up the accounts' pools. May be run again at any time."""
    pipeline.upgrade(pipeline.place(os.environ, lambda: datetime.now(UTC), time.sleep))
    with dg.DagsterInstance.get() as instance:
        limit(instance, (account.name for account in orchestration.configured(os.environ).accounts))


if __name__ == "__main__":
    main()
