"""The year of benchmarks/year.py as a user of dlt and dagster-dlt would write it: same server, days and requests.

One asset a resource, partitioned by day; a range is one run (`BackfillPolicy.single_run`), which favours dlt: Dagster's
default is one run a day. Rows are merged by key, so that loading twice is loading once; Parquet into DuckDB.
In favour of dlt too: no raw answers are kept, and no coverage, restatements, checks or inventories.
"""

import json
import os
import sys
import time
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

BEGAN = time.perf_counter(), time.process_time()

ADDRESS, HOME, DAYS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
os.environ |= {
    "DO_NOT_TRACK": "1",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DLT_DATA_DIR": str(HOME / "dlt"),
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "100000",
}
(HOME / "dagster").mkdir(parents=True)
(HOME / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")

import dagster as dg  # noqa: E402
import dlt  # noqa: E402
import duckdb  # noqa: E402
from dagster_dlt import DagsterDltResource, dlt_assets  # noqa: E402
from dlt.sources.helpers.rest_client import RESTClient  # noqa: E402
from dlt.sources.helpers.rest_client.auth import APIKeyAuth, BearerTokenAuth, OAuth2ClientCredentials  # noqa: E402

from credentials import SECRETS  # noqa: E402

TODAY = date(2026, 3, 18)
DAY = timedelta(days=1)
FIRST = TODAY - DAYS * DAY
TENANT = "4f7d7a3e-52c0-4b53-9c27-1d1f0f2b6a10"
AVEVA = f"/api/v1/tenants/{TENANT}"
DESTINATION = dlt.destinations.duckdb(str(HOME / "warehouse.duckdb"))


def midnight(day):
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def instant(day):
    return f"{midnight(day):%Y-%m-%dT%H:%M:%SZ}"


@dlt.source(name="puppet")
def puppet(first, last):
    client = RESTClient(
        f"{ADDRESS}/puppet", auth=APIKeyAuth(name="X-Authentication", api_key=SECRETS["puppet"], location="header")
    )

    @dlt.resource(name="usage", write_disposition="merge", primary_key="date", columns={"date": {"data_type": "date"}})
    def usage():
        asked = {"start_date": str(first), "end_date": str(last), "events": "include"}
        yield client.get("/orchestrator/v1/usage", params=asked).json()["items"]

    return usage


def aveva_client():
    auth = OAuth2ClientCredentials(
        access_token_url=token_url(),
        client_id=SECRETS["aveva_id"],
        client_secret=SECRETS["aveva_secret"],
    )
    return RESTClient(f"{ADDRESS}/aveva", auth=auth)


def token_url():
    found = RESTClient(f"{ADDRESS}/aveva").get("/identity/.well-known/openid-configuration")
    return found.json()["token_endpoint"]


@dlt.source(name="aveva")
def aveva(first, last):
    client = aveva_client()

    def usage(**more):
        start = first
        while start <= last:
            end = min(start + 92 * DAY, last + DAY)
            yield client.get(f"{AVEVA}/usage", params={"start": instant(start), "end": instant(end), **more}).json()
            start = end

    key = ["date", "namespace_id", "callee_tenant_id", "caller_tenant_id", "community_id"]
    nullable = {name: {"data_type": "text", "nullable": True} for name in key[1:]}

    @dlt.resource(name="tenant_usage", write_disposition="merge", merge_key="date", columns=nullable)
    def tenant_usage():
        yield from usage()

    @dlt.resource(name="namespace_usage", write_disposition="merge", merge_key="date", columns=nullable)
    def namespace_usage():
        yield from usage(groupByNamespace="true")

    @dlt.resource(name="billing_cycles", write_disposition="merge", primary_key="start_date")
    def billing_cycles():
        yield client.get(f"{AVEVA}/subscriptionterm/billingcycles").json()

    return tenant_usage, namespace_usage, billing_cycles


@dlt.source(name="launchdarkly")
def launchdarkly(first, last):
    client = RESTClient(
        f"{ADDRESS}/launchdarkly",
        headers={"LD-API-Version": "beta"},
        auth=APIKeyAuth(name="Authorization", api_key=SECRETS["launchdarkly"], location="header"),
    )
    start = int(midnight(first).timestamp() * 1000)
    end = int(midnight(last + DAY).timestamp() * 1000) - 1

    def series(path, kind, **more):
        """The answers are matrices: a column a combination of the metadata, a row a day."""
        asked = {"from": start, "to": end, "aggregationType": kind, "granularity": "daily", **more}
        body = client.get(f"/api/v2/usage/{path}", params=asked).json()
        for row in body["series"]:
            time = datetime.fromtimestamp(row["time"] / 1000, timezone.utc)
            for number, named in enumerate(body["metadata"]):
                if str(number) in row:
                    group = named.get("projectId", "")
                    yield {"time": time, "kind": kind, "project_id": group, "value": float(row[str(number)])}

    key = ["time", "kind", "project_id"]

    @dlt.resource(name="service_connections", write_disposition="merge", primary_key=key)
    def service_connections():
        yield list(series("service-connections", "incremental"))
        yield list(series("service-connections", "incremental", groupBy="projectId"))
        yield list(series("service-connections", "month_to_date"))

    @dlt.resource(name="projects", write_disposition="replace")
    def projects():
        asked = {"limit": 20, "offset": 0, "expand": "environments"}
        headers = {"LD-API-Version": "20240415"}
        yield client.get("/api/v2/projects", params=asked, headers=headers).json()["items"]

    @dlt.resource(name="total_mau", write_disposition="merge", primary_key=key)
    def total_mau():
        yield list(series("total-mau", "month_to_date"))
        yield list(series("total-mau", "rolling_30d"))

    return service_connections, projects, total_mau


@dlt.source(name="today")
def snapshots(day):
    """What vendors tell only of the present."""

    @dlt.resource(name="consul_usage", write_disposition="merge", merge_key="day")
    def consul_usage():
        client = RESTClient(
            f"{ADDRESS}/consul", auth=APIKeyAuth(name="X-Consul-Token", api_key=SECRETS["consul"], location="header")
        )
        body = client.get("/v1/operator/usage").json()
        yield [{"day": day, "datacenter": name, **usage} for name, usage in body["Usage"].items()]

    @dlt.resource(name="thousandeyes_usage", write_disposition="merge", merge_key="day")
    def thousandeyes_usage():
        client = RESTClient(f"{ADDRESS}/thousandeyes", auth=BearerTokenAuth(SECRETS["thousandeyes"]))
        expand = "test,enterprise-agent,enterprise-agent-unit,endpoint-agent"
        yield {"day": day, **client.get("/v7/usage", params={"expand": expand}).json()}

    @dlt.resource(name="aveva_resource_usage", write_disposition="merge", primary_key="day")
    def aveva_resource_usage():
        yield {"day": day, **aveva_client().get(f"{AVEVA}/resources/usage").json()}

    return consul_usage, thousandeyes_usage, aveva_resource_usage


PAST = dg.DailyPartitionsDefinition(start_date=str(FIRST), timezone="UTC")
PRESENT = dg.DailyPartitionsDefinition(start_date=str(FIRST), timezone="UTC", end_offset=1)


def assets(name, source, days):
    pipeline = dlt.pipeline(pipeline_name=name, dataset_name=name, destination=DESTINATION)

    @dlt_assets(
        dlt_source=source(TODAY, TODAY) if days is PAST else source(TODAY),
        dlt_pipeline=pipeline,
        name=name,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def made(context: dg.AssetExecutionContext, load: DagsterDltResource):
        keys = context.partition_keys
        first, last = date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])
        asked = source(first, last) if days is PAST else source(last)
        yield from load.run(context=context, dlt_source=asked, loader_file_format="parquet")

    return made


def main():
    windows = [assets("puppet", puppet, PAST), assets("aveva", aveva, PAST), assets("launchdarkly", launchdarkly, PAST)]
    present = assets("present", snapshots, PRESENT)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    ranged = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    defs = dg.Definitions(
        assets=[*windows, present], resources={"load": DagsterDltResource()}, executor=dg.in_process_executor
    )
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.from_config(str(HOME / "dagster")) as instance:
        for chosen, days in ((windows, (FIRST, TODAY - DAY)), ([present], (TODAY, TODAY))):
            tags = dict(zip(ranged, map(str, days)))
            keys = [key for made in chosen for key in made.keys]
            assert job.execute_in_process(asset_selection=keys, instance=instance, run_config=quiet, tags=tags).success
    with duckdb.connect(str(HOME / "warehouse.duckdb"), read_only=True) as session:
        tables = session.sql(
            "SELECT schema_name || '.' || table_name, estimated_size FROM duckdb_tables() "
            "WHERE table_name NOT LIKE '\\_dlt%' ESCAPE '\\' AND schema_name NOT LIKE '%\\_staging' ESCAPE '\\'"
        ).fetchall()
    told = {
        "rows": sum(size for _, size in tables),
        "tables": dict(tables),
        "cpu": {"whole": time.process_time() - BEGAN[1]},
    }
    (HOME / "told.json").write_text(json.dumps(told))


main()
