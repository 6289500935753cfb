"""Naive pandas: json.load, melt, a row at a time where it is easy to write."""

import json
from decimal import Decimal

import pandas as pd
from reshape import items, main


def reshape(bodies, shape, folder):
    frames = []
    for body in bodies:
        told = json.loads(body.read_bytes())
        found = pd.DataFrame(items(told, shape))
        if shape["kind"] == "matrix":
            long = found.melt("time", var_name="series", value_name="value")
            metadata = pd.DataFrame(told["metadata"])
            metadata["series"] = [str(n) for n in range(len(metadata))]
            long = long.merge(metadata, on="series")
            long["start"] = pd.to_datetime(long["time"], unit="ms", utc=True)
        else:
            long = found.melt(shape["ids"], shape["measures"], var_name="metric", value_name="value")
        long["value"] = long["value"].apply(Decimal)
        long["dimensions"] = long.apply(lambda row: [(name, row[name]) for name in shape["ids"]], axis=1)
        frames.append(long)
    pd.concat(frames).to_parquet(folder / "pandas.parquet", compression="zstd")


main(reshape)
