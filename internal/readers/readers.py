"""Reads one hour of a lake again and again, with one reader.

usage: readers.py READER CONFIG

CONFIG is JSON: endpoint, bucket, access, secret, region, path, jars, options. The
option "how" is a recipe of ours: fetch, settle or link; others are the reader's.
Prints the reader's version. For each line on standard input it reads the whole
hour and prints one line of JSON: what it found, or the error.
"""

import io
import json
import os
import pathlib
import sys
import urllib.request

COLUMNS = """count(*), count(distinct event_id), min(v), max(v), sum(v), sum(length(payload)),
    min(payload), max(payload), min(event_type), min(dt), min(hour)"""
NAMES = ["rows", "ids", "min", "max", "sum", "bytes", "first", "last", "type", "date", "hour"]


def shown(values):
    """Names the values, but those of no rows; what readers show in types of their own becomes text."""
    return {n: v if isinstance(v, int) and n != "hour" else str(v) for n, v in zip(NAMES, values, strict=True) if v is not None}


def s3(c):
    import boto3

    return boto3.client("s3", endpoint_url=c["endpoint"], aws_access_key_id=c["access"], aws_secret_access_key=c["secret"], region_name=c["region"])


def objects(c):
    """Lists the keys of the lake with their ETags."""
    pages = s3(c).get_paginator("list_objects_v2").paginate(Bucket=c["bucket"], Prefix=c["path"] + "/")
    return {o["Key"]: o["ETag"] for page in pages for o in page.get("Contents", [])}


def settle(c, read):
    """Reads until a listing shows the same versions after it as before it."""
    before = objects(c)
    while True:
        answer, error = None, None
        try:
            answer = read()
        except BaseException as e:
            error = e
        after = objects(c)
        if after == before:
            if error:
                raise error
            return answer
        before = after


def fetch(c):
    """Gets an object by one request: its path and its bytes, of one version."""
    key = next(iter(objects(c)))
    return key, s3(c).get_object(Bucket=c["bucket"], Key=key)["Body"].read()


def keys(path):
    """The keys in the path of a partition."""
    return dict(part.split("=") for part in path.split("/") if "=" in part)


def link(root, copy):
    """Makes the copy of a directory lake that cp -al makes: links to the files."""
    for file in pathlib.Path(root).rglob("*.parquet"):
        to = pathlib.Path(copy, file.relative_to(root))
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        to.hardlink_to(file)


def duckdb(c):
    import duckdb

    options = dict(c["options"])
    how = options.pop("how", "")
    db = duckdb.connect(config={"threads": 2})
    source = c["path"]
    if not c["path"].startswith("/"):
        import duckdb_extension_httpfs as httpfs

        db.load_extension(os.path.join(os.path.dirname(httpfs.__file__), "extensions", "v" + duckdb.__version__, "httpfs.duckdb_extension"))
        host = c["endpoint"].removeprefix("http://")
        db.execute(f"""create secret (type s3, key_id '{c["access"]}', secret '{c["secret"]}', region '{c["region"]}',
            endpoint '{host}', url_style 'path', use_ssl false)""")
        source = f"s3://{c['bucket']}/{source}"
    for name, value in options.items():
        db.execute(f"set {name} = {value}")

    def read():
        root = source
        if how == "link":
            root = source + "-linked"
            link(source, root)
        return db.execute(f"select {COLUMNS} from read_parquet('{root}/**/*.parquet', hive_partitioning = true)").fetchone()

    return duckdb.__version__, read


def pyarrow(c):
    import pyarrow
    import pyarrow.compute as pc
    import pyarrow.dataset
    import pyarrow.fs
    import pyarrow.parquet

    form = pyarrow.dataset.ParquetFileFormat()
    if limit := c["options"].get("range_size_limit"):
        scan = pyarrow.dataset.ParquetFragmentScanOptions(pre_buffer=True, cache_options=pyarrow.CacheOptions(range_size_limit=int(limit)))
        form = pyarrow.dataset.ParquetFileFormat(default_fragment_scan_options=scan)
    fs, path = pyarrow.fs.LocalFileSystem(), c["path"]
    if not path.startswith("/"):
        fs = pyarrow.fs.S3FileSystem(access_key=c["access"], secret_key=c["secret"], region=c["region"], endpoint_override=c["endpoint"])
        path = c["bucket"] + "/" + path

    def table():
        if c["options"].get("how") != "fetch":
            return pyarrow.dataset.dataset(path, filesystem=fs, format=form, partitioning="hive").to_table()
        key, body = fetch(c)
        t = pyarrow.parquet.read_table(pyarrow.BufferReader(body))
        for name, value in keys(key).items():
            t = t.append_column(name, pyarrow.array([value] * len(t)))
        return t

    def read():
        t = table()
        v, p = t["v"], t["payload"]
        return [x if isinstance(x, int) else x.as_py() for x in (
            len(t), pc.count_distinct(t["event_id"]), pc.min(v), pc.max(v), pc.sum(v), pc.sum(pc.binary_length(p)),
            pc.min(p), pc.max(p), pc.min(t["event_type"]), pc.min(t["dt"]), pc.min(t["hour"]))]

    return pyarrow.__version__, read


def polars(c):
    import polars as pl

    options = {"aws_endpoint_url": c["endpoint"], "aws_access_key_id": c["access"], "aws_secret_access_key": c["secret"],
               "aws_region": c["region"], "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false"}

    def frame():
        if c["path"].startswith("/"):
            return pl.scan_parquet(c["path"] + "/**/*.parquet", hive_partitioning=True)
        if c["options"].get("how") != "fetch":
            return pl.scan_parquet(f"s3://{c['bucket']}/{c['path']}/", hive_partitioning=True, storage_options=options)
        key, body = fetch(c)
        return pl.read_parquet(io.BytesIO(body)).lazy().with_columns(**{n: pl.lit(v) for n, v in keys(key).items()})

    def read():
        v, p = pl.col("v"), pl.col("payload")
        return frame().select(
            pl.len(), pl.col("event_id").n_unique(), v.min().alias("min"), v.max().alias("max"), v.sum().alias("sum"), p.str.len_bytes().sum().alias("bytes"),
            p.min().alias("first"), p.max().alias("last"), pl.col("event_type").min(), pl.col("dt").min(), pl.col("hour").min()).collect().row(0)

    return pl.__version__, (lambda: settle(c, read)) if c["options"].get("how") == "settle" else read


def clickhouse(c):
    import chdb
    from chdb import session

    db = session.Session()
    version = db.query("select version()", "TabSeparated").bytes().decode().strip()
    for name, value in c["options"].items():
        db.query(f"set {name} = {value}")
    source = f"file('{c['path']}/**/*.parquet', 'Parquet')"
    if not c["path"].startswith("/"):
        source = f"s3('{c['endpoint']}/{c['bucket']}/{c['path']}/**/*.parquet', '{c['access']}', '{c['secret']}', 'Parquet')"

    def read():
        out = json.loads(db.query(f"select {COLUMNS} from {source}", "JSONCompactEachRow").bytes())
        return [int(v) if n not in ("first", "last", "type", "date", "hour") else v for n, v in zip(NAMES, out, strict=True)]

    return f"{version} (chdb {chdb.__version__})", read


def spark(c):
    import pyspark
    from pyspark.sql import SparkSession

    options = dict(c["options"])
    how = options.pop("how", "")
    b = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "1g").config("spark.ui.enabled", "false")
         .config("spark.driver.extraJavaOptions", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
         .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "2"))
    source = f"file://{c['path']}/"
    if not c["path"].startswith("/"):
        source = f"s3a://{c['bucket']}/{c['path']}/"
        a = "spark.hadoop.fs.s3a."
        options |= {"spark.jars": ",".join(os.path.join(c["jars"], f) for f in sorted(os.listdir(c["jars"])) if f.endswith(".jar")),
                    a + "endpoint": c["endpoint"], a + "endpoint.region": c["region"], a + "path.style.access": "true",
                    a + "connection.ssl.enabled": "false", a + "access.key": c["access"], a + "secret.key": c["secret"]}
    for name, value in options.items():
        b = b.config(name, value)
    session = b.getOrCreate()
    session.sparkContext.setLogLevel("OFF")

    def read():
        session.read.parquet(source).createOrReplaceTempView("events")
        return session.sql(f"select {COLUMNS} from events").collect()[0]

    return pyspark.__version__, (lambda: settle(c, read)) if how == "settle" else read


def trino(c):
    def statement(sql):
        """Runs a statement by Trino's REST protocol and returns its rows."""
        request = urllib.request.Request(c["options"]["server"] + "/v1/statement", sql.encode(), {"X-Trino-User": "readers"})
        rows = []
        while request:
            with urllib.request.urlopen(request) as response:
                page = json.load(response)
            if "error" in page:
                raise RuntimeError(page["error"]["errorName"] + ": " + page["error"]["message"])
            rows += page.get("data", [])
            request = page.get("nextUri")
        return rows

    where = f"s3://{c['bucket']}/{c['path']}/"
    statement("create schema if not exists hive.lake")
    statement("drop table if exists hive.lake.events")
    statement(f"""create table hive.lake.events (event_id varchar, event_time timestamp(6), received_at timestamp(6), payload varchar, v bigint,
        conflict boolean, event_type varchar, dt varchar, hour varchar)
        with (external_location = '{where}', format = 'PARQUET', partitioned_by = array['event_type', 'dt', 'hour'])""")
    statement("call hive.system.sync_partition_metadata('lake', 'events', 'ADD')")

    def read():
        return statement(f"select {COLUMNS} from hive.lake.events")[0]

    return statement("select version()")[0][0], (lambda: settle(c, read)) if c["options"].get("how") == "settle" else read


def reason(e):
    """What the error says, of Java's the innermost cause."""
    lines = str(e).splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return causes[-1] if causes else f"{type(e).__name__}: {' '.join(lines)}"


def main():
    sys.stdout.reconfigure(line_buffering=True)
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]  # what CONFIG says holds
    config = json.loads(sys.argv[2])
    config["options"] = config["options"] or {}
    version, read = globals()[sys.argv[1]](config)
    print(json.dumps({"version": version}))
    for _ in sys.stdin:
        try:
            answer = shown(read())
        except BaseException as e:  # a panic of Rust is no Exception
            answer = {"error": reason(e)}
        print(json.dumps(answer))


main()
