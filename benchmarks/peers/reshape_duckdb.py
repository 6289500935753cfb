"""DuckDB: read_json and UNPIVOT."""

import duckdb
from reshape import main

READ = "read_json({files}, maximum_object_size = 4000000000, map_inference_threshold = -1)"
MATRIX = f"""
    COPY (
        WITH told AS (SELECT unnest(series, recursive := true) FROM {READ}),
        names AS (
            SELECT unnest(metadata, recursive := true), unnest(range(len(metadata)))::VARCHAR AS number FROM {READ}
        ),
        cells AS (UNPIVOT told ON COLUMNS(* EXCLUDE time) INTO NAME number VALUE value)
        SELECT make_timestamp(time * 1000) AS start, value::DECIMAL(38, 9) AS value, names.*
        FROM cells JOIN names USING (number)
    ) TO '{{out}}' (FORMAT parquet, COMPRESSION zstd)
"""
RECORDS = f"""
    COPY (
        UNPIVOT (SELECT {{ids}}, {{measures}} FROM (SELECT {{items}} FROM {READ}))
        ON {{measures}} INTO NAME metric VALUE value
    ) TO '{{out}}' (FORMAT parquet, COMPRESSION zstd)
"""


def reshape(bodies, shape, folder):
    files = f"[{', '.join(repr(str(body)) for body in bodies)}]"
    out = folder / "duckdb.parquet"
    with duckdb.connect(config={"threads": 1}) as session:
        if shape["kind"] == "matrix":
            session.execute(MATRIX.format(files=files, out=out))
        else:
            items = f"unnest({shape['path']}, recursive := true)" if shape["path"] else "*"
            ids, measures = (", ".join(f'"{name}"' for name in shape[key]) for key in ("ids", "measures"))
            session.execute(RECORDS.format(ids=ids, measures=measures, items=items, files=files, out=out))


main(reshape)
