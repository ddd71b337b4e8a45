"""Reads a lake with DuckDB and pyarrow and compares it with what it must hold.

usage: readers.py LAKE EXPECTED [QUERY...]
LAKE is the root directory. EXPECTED has one JSON object a row: the partition
keys, the partition's own columns with times in microseconds, and the declared
columns. Prints one line for every query, of all or those named, that gave other
rows.
"""

import json
import sys
from datetime import date, datetime, timezone

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

lake, expected_file, *only = sys.argv[1:]
with open(expected_file, encoding="utf-8") as f:
    expected = [json.loads(line) for line in f]

COLUMNS = ["event_id", "event_time", "received_at", "payload", "a_bool", "b_double", "c_int", "d_time", "user_id", "conflict"]
KEYS = ["event_type", "dt", "hour"]
T = datetime(2026, 11, 20, 10, 0, 1, tzinfo=timezone.utc)
MICROS = int(T.timestamp()) * 10**6

f = ds.field
# name, SQL, pyarrow expression, the same in Python
QUERIES = [
    ("all", "true", None, lambda r: True),
    ("event_id", "event_id = 'e7'", f("event_id") == "e7", lambda r: r["event_id"] == "e7"),
    ("no event_id", "event_id = 'nobody'", f("event_id") == "nobody", lambda r: False),
    ("event_time", "event_time = ?", f("event_time") == pa.scalar(T), lambda r: r["event_time"] == MICROS),
    ("event_time range", "event_time < ?", f("event_time") < pa.scalar(T), lambda r: r["event_time"] < MICROS),
    ("received_at", "received_at > ?", f("received_at") > pa.scalar(T), lambda r: r["received_at"] > MICROS),
    ("payload", "payload = 'not JSON'", f("payload") == "not JSON", lambda r: r["payload"] == "not JSON"),
    ("string", "user_id = 'bob'", f("user_id") == "bob", lambda r: r["user_id"] == "bob"),
    ("empty string", "user_id = ''", f("user_id") == "", lambda r: r["user_id"] == ""),
    ("null string", "user_id is null", f("user_id").is_null(), lambda r: r["user_id"] is None),
    ("int64", "c_int = 9007199254740993", f("c_int") == 9007199254740993, lambda r: r["c_int"] == 9007199254740993),
    ("int64 range", "c_int < 0", f("c_int") < 0, lambda r: r["c_int"] is not None and r["c_int"] < 0),
    ("null int64", "c_int is null", f("c_int").is_null(), lambda r: r["c_int"] is None),
    ("double", "b_double = 0.1", f("b_double") == 0.1, lambda r: r["b_double"] == 0.1),
    ("double range", "b_double <= 0", f("b_double") <= 0.0, lambda r: r["b_double"] is not None and r["b_double"] <= 0),
    ("null double", "b_double is not null", f("b_double").is_valid(), lambda r: r["b_double"] is not None),
    ("boolean", "a_bool", f("a_bool"), lambda r: r["a_bool"] is True),
    ("false", "not a_bool", ~f("a_bool"), lambda r: r["a_bool"] is False),
    ("null boolean", "a_bool is null", f("a_bool").is_null(), lambda r: r["a_bool"] is None),
    ("timestamp", "d_time = ?", f("d_time") == pa.scalar(T), lambda r: r["d_time"] == MICROS),
    ("null timestamp", "d_time is null", f("d_time").is_null(), lambda r: r["d_time"] is None),
    ("conflict", "conflict", f("conflict"), lambda r: r["conflict"]),
    ("hour", "hour = 10", f("hour") == 10, lambda r: r["hour"] == "10"),
    ("dt", "dt = '2026-11-20'", f("dt") == "2026-11-20", lambda r: r["dt"] == "2026-11-20"),
]
for name in sorted({r["event_type"] for r in expected}):
    QUERIES.append(("type " + name, "event_type = '" + name.replace("'", "''") + "'", f("event_type") == name, lambda r, n=name: r["event_type"] == n))


def plain(row):
    """Makes a row of either reader comparable."""
    out = dict(row)
    for k, v in row.items():
        if isinstance(v, datetime):
            assert v.tzinfo is not None, k
            out[k] = round((v - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 10**6)
        elif isinstance(v, date):
            out[k] = v.isoformat()
    out["hour"] = f"{int(row['hour']):02d}"
    return out


def by_key(rows):
    return sorted(((r["event_type"], r["dt"], r["hour"], r["event_id"]), [(c, r[c]) for c in COLUMNS]) for r in rows)


def compare(reader, name, got, test):
    want = by_key(r for r in expected if test(r))
    got = by_key(plain(r) for r in got)
    if got != want:
        first = next((p for p in zip(got, want) if p[0] != p[1]), None)
        print(f"{reader}, {name}: {len(got)} rows, want {len(want)}; first difference {first}")


db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
source = "read_parquet('" + lake + "/**/*.parquet', hive_partitioning = true, hive_types = {'event_type': VARCHAR})"
MICROS_OF = ", ".join(f"epoch_us({c}) AS {c}" for c in ("event_time", "received_at", "d_time"))
have = [r[0] for r in db.execute("DESCRIBE SELECT * FROM " + source).fetchall()]
if have != COLUMNS + sorted(KEYS, key=have.index):
    print(f"duckdb: columns {have}")
zoned = [r[0] for r in db.execute("DESCRIBE SELECT * FROM " + source).fetchall() if r[1] == "TIMESTAMP WITH TIME ZONE"]
if zoned != ["event_time", "received_at", "d_time"]:
    print(f"duckdb: instants {zoned}")
dataset = ds.dataset(lake, format="parquet", partitioning=ds.HivePartitioning(
    pa.schema([("event_type", pa.string()), ("dt", pa.string()), ("hour", pa.int32())]), segment_encoding="uri"))
if dataset.schema.names != COLUMNS + KEYS:
    print(f"pyarrow: columns {dataset.schema.names}")
for name, sql, expression, test in QUERIES:
    if only and name not in only:
        continue
    # Without pytz, DuckDB cannot hand out timestamps with a time zone.
    rows = db.execute(f"SELECT * REPLACE ({MICROS_OF}) FROM {source} WHERE {sql}", [T] if "?" in sql else [])
    names = [d[0] for d in rows.description]
    compare("duckdb", name, [dict(zip(names, r)) for r in rows.fetchall()], test)
    compare("pyarrow", name, dataset.to_table(filter=expression).to_pylist(), test)
