"""Look around in the warehouse: `marimo edit notebooks/explore.py`, with USAGE_PIPELINE_HOME where it is not ./data."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Usage")


@app.cell
def _():
    import os
    import pathlib

    import altair as alt
    import duckdb
    import marimo as mo

    return alt, duckdb, mo, os, pathlib


@app.cell
def _(duckdb, os, pathlib):
    # What was published since is seen when this cell is run again.
    warehouse = duckdb.connect(
        pathlib.Path(os.environ.get("USAGE_PIPELINE_HOME") or "data") / "warehouse.duckdb", read_only=True
    )
    warehouse.execute("SET TimeZone = 'UTC'")
    return (warehouse,)


@app.cell
def _(mo):
    mo.md(r"""
    # What is there
    """)
    return


@app.cell
def _(mo, warehouse):
    metrics = warehouse.sql("""
        SELECT vendor, endpoint, metric, unit, aggregation, temporality, first_seen, last_seen, description
        FROM metrics
        WHERE role = 'consumed' AND first_seen IS NOT NULL
        ORDER BY ALL
    """).to_arrow_table()
    mo.ui.table(metrics)
    return (metrics,)


@app.cell
def _(metrics, mo):
    choices = {
        f"{row['vendor']} {row['metric']} ({row['aggregation']})": (row["vendor"], row["metric"], row["aggregation"])
        for row in metrics.to_pylist()
    }
    chosen = mo.ui.dropdown(choices, value=next(iter(choices), None), label="Metric")
    mo.vstack([mo.md("# Day by day"), chosen])
    return (chosen,)


@app.cell
def _(chosen, warehouse):
    # The account's total where the vendor tells one, else its parts: the two never add up to anything.
    daily = warehouse.execute(
        """
        SELECT account, endpoint, unit, usage_date, breakdown, dimensions, value, derivation, days_covered, is_final
        FROM usage_daily
        WHERE (vendor, metric, aggregation) = (?, ?, ?)
        QUALIFY breakdown = min(breakdown) OVER (PARTITION BY account, endpoint)
        ORDER BY ALL
        """,
        chosen.value or ("", "", ""),
    ).to_arrow_table()
    return (daily,)


@app.cell
def _(alt, daily, mo, warehouse):
    # Numbers are exact until here: a picture needs no more than a float has.
    drawn = warehouse.sql("""
        SELECT
            usage_date, is_final, unit,
            CAST(value AS DOUBLE) AS value,
            trim(concat_ws(' ', account, endpoint, array_to_string(map_values(dimensions), ' '))) AS series
        FROM daily
    """).to_arrow_table()
    days = (
        alt.Chart(drawn)
        .mark_line(point=True)
        .encode(
            x="usage_date:T",
            y="value:Q",
            color="series:N",
            tooltip=["series", "usage_date:T", "value", "unit", "is_final"],
        )
        .properties(width="container")
    )
    mo.vstack([days, mo.ui.table(daily)])
    return (days,)


@app.cell
def _(alt, mo, warehouse):
    used = warehouse.sql("""
        SELECT vendor, account, metric, unit, period_start, consumed, entitled, projected, ratio, exhausted_on
        FROM utilization
        QUALIFY period_start = max(period_start) OVER (PARTITION BY vendor, account, metric, unit)
        ORDER BY ratio DESC NULLS LAST, vendor, account, metric, unit
    """).to_arrow_table()
    shares = (
        alt.Chart(
            warehouse.sql("""
                SELECT concat_ws(' ', account, metric) AS what, CAST(ratio AS DOUBLE) AS ratio
                FROM used
                WHERE ratio IS NOT NULL
            """).to_arrow_table()
        )
        .mark_bar()
        .encode(x=alt.X("ratio:Q").axis(format="%"), y=alt.Y("what:N").sort("-x"))
        .properties(width="container")
    )
    mo.vstack([mo.md("# Of what was bought, how much is used"), shares, mo.ui.table(used)])
    return shares, used


@app.cell
def _(mo, warehouse):
    gaps = warehouse.sql("""
        SELECT vendor, account, endpoint, first_day, last_day, days, state, reason, can_be_asked
        FROM coverage_gaps
        ORDER BY ALL
    """).to_arrow_table()
    mo.vstack([mo.md("# Days of which nothing is known"), mo.ui.table(gaps)])
    return (gaps,)


if __name__ == "__main__":
    app.run()
