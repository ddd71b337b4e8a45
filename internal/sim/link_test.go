package sim

import (
	_ "unsafe" // for the link

	"github.com/klauspost/compress/zstd"

	_ "github.com/afterhours/afterhours/lake"
)

// lakeCompressor is what the lake compresses pages with.
//
//go:linkname lakeCompressor github.com/afterhours/afterhours/lake.compressor
var lakeCompressor *zstd.Encoder
