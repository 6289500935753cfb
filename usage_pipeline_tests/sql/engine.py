"""One DuckDB's answers to many queries. Run as a program by the Python of each environment: needs nothing but DuckDB.

Reads the queries, by name, as JSON from stdin; writes {"version": ..., "answers": {name: answer}} to stdout.
"""

import json
import sys

import duckdb

Answer = dict[str, object]


def answer(session: duckdb.DuckDBPyConnection, query: str) -> Answer:
    """Columns, types, and the rows as DuckDB's own texts, which keep every digit; or why there is no answer."""
    try:
        described = session.execute(f"DESCRIBE {query}").fetchall()
        texts = f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({query}) AS asked"
        rows = sorted(session.execute(texts).fetchall(), key=repr)
    except duckdb.Error as error:
        return {"refused": str(error).split("\n")[0]}
    return {"columns": [[name, kind] for name, kind, *_ in described], "rows": rows}


def main(warehouse: str) -> None:
    with duckdb.connect(warehouse, read_only=True) as session:
        session.execute("SET TimeZone = 'UTC'")
        answers = {name: answer(session, query.rstrip("; \n")) for name, query in json.load(sys.stdin).items()}
    json.dump({"version": duckdb.__version__, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
