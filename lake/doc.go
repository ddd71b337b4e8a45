// Package lake keeps published events as Parquet, one partition an hour, and
// replaces a partition by one conditional request.
//
// # Layout
//
//	PREFIX/event_type=T/dt=YYYY-MM-DD/hour=HH/events.parquet
//
// Names are escaped as Hive does it, so that DuckDB, Spark, Hive, pyarrow and
// BigQuery find event_type, dt and hour in the path. The file has no such
// columns. Objects of others may lie beside; they are skipped.
//
// # Partitions
//
// A partition has the columns event_id, event_time, received_at, payload, the
// declared columns in order of name, and conflict. Times are microseconds in
// UTC. Rows are sorted by user_id if that column is declared, then event_time,
// then event_id, ascending, nulls first. Each event is there once. The footer
// carries a [Manifest]. The same events give the same rows in the same order,
// in however many rewrites they came.
//
// A declared column's value is a function of the payload alone: see
// internal/jsonfield. A payload that is not one strict JSON object has none.
//
// # Blocks
//
// A partition is a sequence of blocks of up to 16,384 rows or 16 MiB, and a quarter
// more. A block is a row group, with the payloads last, and the Bloom filter of its
// event IDs. The footer has a table of blocks: which keys they divide the order at,
// what they count, and a CRC-64/NVME of each part. Right before the footer, where
// readers of Parquet do not look, stands a seal, the SHA-256 of the footer. No bit of
// a partition can change without being found, and nothing of one that has changed
// is parsed.
//
// # Strips
//
// The rows of a block are cut into strips of up to 64 KiB of payloads or 1,024 rows,
// and each column has one page of each strip, of plain values. So all pages of a
// strip can be copied together into another block, as bytes. Pages are written and
// read by this package, footers and schemas by parquet-go.
//
// # Rewriting
//
// [Lake.Base] reads what there is, [Lake.Rewrite] takes new rows, and
// [Rewrite.Publish] merges them, writes a temporary file, and uploads it under the
// condition that the object is still the base. Blocks that no row leaves or enters
// are copied; of others the strips that none does. What is new is decoded and compared
// with what it was made of before the upload, what was copied is compared by its
// checksums, and every row is accounted for. Whoever loses gets [ErrConflict] and
// starts again from Base: nothing is ever written over a version that was not read.
// If the process dies at any point, the lake has either the old partition or the new
// one.
//
// Of an object in a bucket a rewrite reads the footer, the filters and the blocks that
// new rows fall into, each by ranges of the version that it began with. Blocks that it
// does not touch it does not read: S3 copies them itself, in parts of 5 MiB and more,
// from that version and no other, and compares the checksum of the whole object with
// the one that the tables of blocks give. A store that has not shown in [Lake.Prove]
// that it does, and Google Cloud Storage, which cannot copy ranges, is sent the whole
// object, with the same checksum compared on the way: there a late event costs the
// reading and writing of its partition.
//
// # Lineage and books
//
// A partition that follows from its predecessor keeps its lineage: no event leaves
// it, save for erased ones. A rebuild, a restored version ([Lake.RestoreBase]) and
// a partition where none was begin another. Rows that are mere copies of what is
// published publish nothing; the caller may note them under the lineage, and the
// next publish counts them ([RewriteOptions].Noted). In every manifest
//
//	rows seen = rows published + duplicates + erased = rows merged + pruned
//
// [Lake.Unread] is the way to replace a partition that cannot be read, and
// [Lake.Manifest] reads what a partition knows of itself without its rows.
//
// # Backends
//
// S3 and what honours its conditions, Google Cloud Storage, and directories. A
// store that ignores conditions loses data without a sign; [Lake.Prove] finds
// out. Directories want a file system with flock(2) and rename(2) that all
// writers share, such as a local one.
//
// # Limits
//
// Tested up to about 4 GiB or 20 million rows a partition. A rewrite holds its
// memory budget, of which 5 bytes are for every row added, and for every processor a
// few blocks; in a bucket a few more that are on their way, and 64 MiB of an upload.
// Temporary files take up to the raw rows added and twice the partition, save for
// blocks in a bucket that are left there.
package lake
