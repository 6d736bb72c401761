//go:build !linux || !(amd64 || arm64 || 386 || riscv64) || sharedseg_portable

package fault

import "sync/atomic"

// entry is never used here, as all regions are guarded.
type entry struct{ state atomic.Uint32 }

func enter(lo, hi uintptr) *entry { return nil }

func leave(e *entry) {}
