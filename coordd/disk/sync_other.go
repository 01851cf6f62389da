//go:build !linux

package disk

import "os"

// syncData flushes the whole file: fdatasync is not to be had everywhere.
func syncData(f *os.File) error { return f.Sync() }
