package lake

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeOut has the disk begin to write a stretch of a file, so that a later sync finds
// less to do. It is advice: whether the bytes are there the sync tells. Nothing is
// waited for here, as who waits takes the error that the sync must return.
func writeOut(f *os.File, at, size int64) {
	_ = unix.SyncFileRange(int(f.Fd()), at, size, unix.SYNC_FILE_RANGE_WRITE)
}
