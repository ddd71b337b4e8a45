package main

import "slices"

// subject is a reader with its settings: a line of the table.
type subject struct {
	program  string // function of readers.py, list of requirements
	title    string
	settings string // as the table tells them
	options  map[string]string
	local    bool // reads a directory
}

// String names the line.
func (s subject) String() string { return s.title + " (" + s.settings + ")" }

// set makes options.
type set = map[string]string

// subjects are the lines of the table, in order. Objects here have 10 MB. Where
// larger ones are read by another path, a setting brings that path about.
var subjects = []subject{
	{program: "duckdb", title: "DuckDB", settings: "default"},
	{program: "duckdb", title: "DuckDB", settings: "`force_download=true`", options: set{"force_download": "true"}},
	{program: "duckdb", title: "DuckDB", settings: "`parquet_metadata_cache=true`", options: set{"parquet_metadata_cache": "true"}},
	{program: "duckdb", title: "DuckDB", settings: "`enable_http_metadata_cache=true`", options: set{"enable_http_metadata_cache": "true"}},
	{program: "duckdb", title: "DuckDB", settings: "`unsafe_disable_etag_checks=true`", options: set{"unsafe_disable_etag_checks": "true"}},
	{program: "clickhouse", title: "ClickHouse", settings: "default"},
	{program: "clickhouse", title: "ClickHouse", settings: "`s3_validate_etag_on_read=0`", options: set{"s3_validate_etag_on_read": "0"}},
	{program: "pyarrow", title: "pyarrow", settings: "default, objects up to 32 MiB"},
	{program: "pyarrow", title: "pyarrow", settings: "as objects beyond 32 MiB are read", options: set{"range_size_limit": "4194304"}},
	{program: "pyarrow", title: "pyarrow", settings: "object fetched by one request of boto3", options: set{"how": "fetch"}},
	{program: "polars", title: "Polars", settings: "default"},
	{program: "polars", title: "Polars", settings: "object fetched by one request of boto3", options: set{"how": "fetch"}},
	{program: "polars", title: "Polars", settings: "read again until listings agree", options: set{"how": "settle"}},
	{program: "spark", title: "Spark", settings: "default"},
	{program: "spark", title: "Spark", settings: "`spark.sql.files.ignoreCorruptFiles=true`", options: set{"spark.sql.files.ignoreCorruptFiles": "true"}},
	{program: "spark", title: "Spark", settings: "read again until listings agree", options: set{"how": "settle"}},
	{program: "trino", title: "Trino", settings: "default, objects up to 32 MB"},
	{program: "trino", title: "Trino", settings: "as objects beyond 32 MB are read", options: set{"hive.max-initial-split-size": "4MB", "hive.max-split-size": "4MB"}},
	{program: "trino", title: "Trino", settings: "read again until listings agree", options: set{"how": "settle"}},
	{program: "duckdb", title: "DuckDB", settings: "directory", local: true},
	{program: "duckdb", title: "DuckDB", settings: "directory, hard links to the files", options: set{"how": "link"}, local: true},
	{program: "pyarrow", title: "pyarrow", settings: "directory", local: true},
	{program: "polars", title: "Polars", settings: "directory", local: true},
	{program: "clickhouse", title: "ClickHouse", settings: "directory", local: true},
	{program: "spark", title: "Spark", settings: "directory", local: true},
}

// names returns what --readers takes.
func names() []string {
	var names []string
	for _, s := range subjects {
		if !slices.Contains(names, s.program) {
			names = append(names, s.program)
		}
	}
	return names
}
