package sim

import (
	_ "unsafe" // for the link

	"github.com/parquet-go/parquet-go/compress/zstd"

	_ "github.com/afterhours/afterhours/lake"
)

// lakeCompression is what the lake compresses pages with.
//
//go:linkname lakeCompression github.com/afterhours/afterhours/lake.compression
var lakeCompression *zstd.Codec
