"""Polars: read_json, unpivot, join."""

import polars as pl
from reshape import main


def reshape(bodies, shape, folder):
    frames = []
    for body in bodies:
        told = pl.read_json(body)
        if shape["kind"] == "matrix":
            points = told.select(pl.col("series").explode()).unnest("series")
            metadata = told.select(pl.col("metadata").explode()).unnest("metadata")
            metadata = metadata.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("number"))
            long = points.unpivot(index="time", variable_name="number").join(metadata, on="number")
            long = long.with_columns(pl.from_epoch("time", time_unit="ms").alias("start"))
        else:
            found = told.select(pl.col(shape["path"]).explode()).unnest(shape["path"]) if shape["path"] else told
            long = found.unpivot(shape["measures"], index=shape["ids"], variable_name="metric")
        frames.append(long.with_columns(pl.col("value").cast(pl.Decimal(38, 9))))
    pl.concat(frames).write_parquet(folder / "polars.parquet", compression="zstd")


main(reshape)
