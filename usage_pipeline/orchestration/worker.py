"""What a Celery worker of a deployment runs: `celery -A usage_pipeline.orchestration.worker worker -Q dagster`.

Broker and settings are those of the run launcher in dagster.yaml, so that both cannot differ. What a run needs is
imported here, before the worker forks the processes that take the runs: a run starts in one that is warm. So accounts
are as they were when the worker started; after a change, start the workers again.
"""

import importlib

import dagster as dg
from celery import Celery
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from usage_pipeline.contract.errors import ConfigurationError

# Otherwise imported by the first run of each process. None of them starts a thread or opens anything by itself.
WARM = (
    "deltalake.fs",
    "duckdb",
    "httpx",
    "pandas",
    "pyarrow.acero",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "usage_pipeline.definitions",
    "usage_pipeline.stages.load",
    "usage_pipeline.stages.publish",
)


def make() -> Celery:
    """The app with Dagster's tasks. Raises ConfigurationError where dagster.yaml launches runs in another way."""
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        if not isinstance(launcher, CeleryRunLauncher):
            raise ConfigurationError(
                f"{instance.root_directory}/dagster.yaml has {type(launcher).__name__}: workers are for "
                "CeleryRunLauncher; take the file from deploy/"
            )
        app = launcher.celery
    create_execute_job_task(app)
    create_resume_job_task(app)
    for name in WARM:
        importlib.import_module(name)
    return app


app = make()
