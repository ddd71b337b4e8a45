//go:build !linux

package lake

import "os"

// writeOut leaves it to the system when the disk begins to write.
func writeOut(*os.File, int64, int64) {}
