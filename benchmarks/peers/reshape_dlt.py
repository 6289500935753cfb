"""dlt: a resource of rows, loaded as Parquet into a folder."""

import json
import os

import dlt
from reshape import items, main

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"


def reshape(bodies, shape, folder):
    def rows():
        for body in bodies:
            told = json.loads(body.read_bytes())
            for item in items(told, shape):
                if shape["kind"] == "matrix":
                    for key, value in item.items():
                        if key != "time":
                            yield {"time": item["time"], "value": value, **told["metadata"][int(key)]}
                else:
                    ids = {name: item[name] for name in shape["ids"]}
                    for metric in shape["measures"]:
                        yield {**ids, "metric": metric, "value": item[metric]}

    pipeline = dlt.pipeline(
        "reshape",
        pipelines_dir=str(folder / "dlt"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri()),
        dataset_name="usage",
    )
    pipeline.run(dlt.resource(rows, name="usage", write_disposition="replace"), loader_file_format="parquet")


main(reshape)
