"""Merges late events into a partition as DuckDB and Polars do it, and prints the seconds that took and the rows there are then, as JSON.

usage: peers.py duckdb|polars BASE.parquet LATE.ndjson OUT.parquet

Of the copies of an event the one that was received first stays; the file is sorted by user, time and ID.
"""
import json
import sys
import time

engine, base, late, out = sys.argv[1:]


def duckdb():
    import duckdb as db

    con = db.connect()
    con.execute("SET threads = 2; SET enable_progress_bar = false; SET preserve_insertion_order = false; SET TimeZone = 'UTC'")
    start = time.perf_counter()
    con.execute(f"""
        COPY (
            WITH late AS (
                SELECT event_id, make_timestamptz(event_time) AS event_time, make_timestamptz(received_at) AS received_at, payload,
                    payload ->> 'user_id' AS user_id, false AS conflict
                FROM read_json('{late}', columns = {{event_id: 'VARCHAR', event_time: 'BIGINT', received_at: 'BIGINT', payload: 'VARCHAR'}})
            ), copies AS (
                SELECT event_id FROM read_parquet('{base}') SEMI JOIN late USING (event_id)
            )
            SELECT * FROM read_parquet('{base}')
            UNION ALL BY NAME
            SELECT * FROM late ANTI JOIN copies USING (event_id)
            ORDER BY user_id NULLS FIRST, event_time, event_id
        ) TO '{out}' (FORMAT parquet, COMPRESSION zstd)""")
    took = time.perf_counter() - start
    return took, con.execute(f"SELECT count(*) FROM read_parquet('{out}')").fetchone()[0]


def polars():
    import polars as pl

    start = time.perf_counter()
    old = pl.read_parquet(base, hive_partitioning=False)
    new = pl.read_ndjson(late, schema={"event_id": pl.String, "event_time": pl.Int64, "received_at": pl.Int64, "payload": pl.String})
    new = new.with_columns(
        pl.col("event_time").cast(pl.Datetime("us", "UTC")),
        pl.col("received_at").cast(pl.Datetime("us", "UTC")),
        pl.col("payload").str.json_path_match("$.user_id").alias("user_id"),
        pl.lit(False).alias("conflict"),
    )
    new = new.join(old.select("event_id"), on="event_id", how="anti").select(old.columns)
    pl.concat([old, new]).sort("user_id", "event_time", "event_id", nulls_last=False).write_parquet(out, compression="zstd")
    took = time.perf_counter() - start
    return took, pl.scan_parquet(out).select(pl.len()).collect().item()


took, rows = {"duckdb": duckdb, "polars": polars}[engine]()
print(json.dumps({"seconds": took, "units": rows}))
