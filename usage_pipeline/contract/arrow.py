"""The tables' schemas in Arrow. Apart from `schema`, so that facts load without pyarrow."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from usage_pipeline.contract.schema import Table, Type

VALUE = pa.decimal128(38, 9)
INSTANT = pa.timestamp("us", tz="UTC")
MAP = pa.map_(pa.string(), pa.string())

TYPES: dict[Type, pa.DataType] = {
    Type.STRING: pa.string(),
    Type.DATE: pa.date32(),
    Type.TIMESTAMP: INSTANT,
    Type.DECIMAL: VALUE,
    Type.INTEGER: pa.int64(),
    Type.BOOLEAN: pa.bool_(),
    Type.MAP: MAP,
}


@cache
def schema(table: Table) -> pa.Schema:
    """The one explicit schema that a table is written with."""
    return pa.schema(pa.field(column.name, TYPES[column.type], nullable=column.nullable) for column in table.columns)
