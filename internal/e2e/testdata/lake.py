"""Prints the rows the lake has, in the order in which they lie: DIR"""
import json, sys
import pyarrow as pa, pyarrow.dataset as ds

partitions = ds.partitioning(pa.schema([("event_type", pa.string()), ("dt", pa.string()), ("hour", pa.string())]), flavor="hive")
lake = ds.dataset(sys.argv[1], format="parquet", partitioning=partitions)
iso = lambda t: t.isoformat().replace("+00:00", "Z")
for file in sorted(lake.get_fragments(), key=lambda f: f.path):
    for r in file.to_table(schema=lake.schema).to_pylist():
        print(json.dumps([r["event_type"], f'{r["dt"]}T{r["hour"]}', r["event_id"], iso(r["event_time"]), iso(r["received_at"]),
                          r["user_id"], r["files"], r["added"], r["deleted"], r["payload"], r["conflict"]]))
