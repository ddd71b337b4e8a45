package lake

import "os"

func mkdirTemp() (string, error) { return os.MkdirTemp("", "lake-*") }
func removeAll(dir string)       { os.RemoveAll(dir) }
