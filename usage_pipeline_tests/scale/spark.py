"""Spark's answers to queries on lakes and their views. A program for an environment with PySpark and sqlglot only.

Reads a list of lakes as JSON from stdin, each {"tables": {name: {"root": folder, "schema": DDL, "files": [...]}},
"own": [statement, ...], "views": {name: {"text": ..., "columns": [...]}}, "queries": {name: query}}. Writes of each
{"version": ..., "refused": {name: why}, "answers": {name: rows}} to the file that its argument names, as the JVM
writes to stdout. A table is the files of its snapshot, by the Delta log: the folder holds replaced files too, which
would count twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

Row = list[Any]

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "1",
    # To write and compile a program for each query takes longer than to read some hundred rows.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.session.timeZone": "UTC",
    # Else the difference of two DECIMAL(38, 9) has eight decimals: Spark makes room for a thirtieth digit before them.
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
}


def plain(cell: Any) -> Any:
    """A cell as text, the same for what Spark and what DuckDB hands out."""
    if isinstance(cell, Decimal):
        text = f"{cell:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None).isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, Mapping):
        return sorted([key, plain(value)] for key, value in cell.items())
    if isinstance(cell, list):
        return sorted([key, plain(value)] for key, value in cell)
    return cell


def ordered(rows: Sequence[Sequence[Any]]) -> list[Row]:
    return sorted(([plain(cell) for cell in row] for row in rows), key=repr)


def translated(text: str, columns: Sequence[str]) -> str:
    """A view of sql/ in Spark's words: sqlglot's, and what it leaves to us.

    The schema `lake` becomes the beginning of its tables' names, as temporary views have none. What is united by name
    is named, by `columns`, those of the view. Raises ValueError where there are no such words.
    """
    import sqlglot
    from sqlglot import exp

    [view] = [one for one in sqlglot.parse(text, read="duckdb") if isinstance(one, exp.Create)]
    for table in view.find_all(exp.Table):
        if table.db == "lake":
            table.replace(exp.to_table(f"lake_{table.name}", alias=table.alias or table.name))
        elif isinstance(table.this, exp.GenerateSeries):
            table.set("this", exp.func("range", table.this.args["start"], table.this.args["end"]))
    for held in view.find_all(exp.Bracket):
        if held.this.name.upper() == "MAP_EXTRACT":
            held.replace(exp.func("try_element_at", *held.this.expressions))
    for union in view.find_all(exp.Union):
        if union.args.get("by_name"):
            union.set("by_name", False)
            for side in (union.left, union.right):
                if isinstance(side, exp.Select) and side.is_star:
                    side.set("expressions", [exp.column(name, quoted=True) for name in columns])
    # Databricks has QUALIFY, and so has Spark since 4; of the dialect `spark` sqlglot does not know it.
    said = view.expression.sql("databricks", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return f"CREATE OR REPLACE TEMPORARY VIEW {view.this.name} AS {said}"


def told(session: Any, lake: Mapping[str, Any]) -> dict[str, Any]:
    """What Spark answers of one lake."""
    from pyspark.errors import PySparkException

    refused: dict[str, str] = {}
    answers: dict[str, list[Row]] = {}
    for name, table in lake["tables"].items():
        files, schema = table["files"], table["schema"]
        read = session.read.schema(schema).option("basePath", table["root"])
        (read.parquet(*files) if files else session.createDataFrame([], schema)).createOrReplaceTempView(f"lake_{name}")
    for statement in lake["own"]:
        session.sql(statement)
    for name, view in lake["views"].items():
        try:
            session.sql(translated(view["text"], view["columns"]))
        except (PySparkException, ValueError) as error:
            refused[name] = str(error).split("\n")[0]
    for name, query in lake["queries"].items():
        if name not in refused:
            answers[name] = ordered(session.sql(query).collect())
    return {"version": session.version, "refused": refused, "answers": answers}


def main(target: str) -> None:
    from pyspark.sql import SparkSession

    # Python makes an instant of the JVM's in the time zone of the process.
    os.environ["TZ"] = "UTC"
    builder = SparkSession.builder.master("local[1]")
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    Path(target).write_text(json.dumps([told(session, lake) for lake in json.load(sys.stdin)]))
    session.stop()


if __name__ == "__main__":
    main(sys.argv[1])
