package member

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Closed handles keep their addresses until the garbage collector, to which
// they seem small, finds that no call can use them any more.
var (
	retired atomic.Int64 // bytes that they keep
	needed  atomic.Int64 // of these, what the last call of the collector found still referred to
)

// reclaimAt is how many bytes make reclaim call the collector.
const reclaimAt = 64 << 20

// reclaim has the garbage collector give addresses back before this process has
// none, if that may come to pass: then it could not work any more.
func reclaim() {
	before := retired.Load()
	needed.Store(min(needed.Load(), before))
	if before-needed.Load() < reclaimAt || !mapping.AddressesLimited() {
		return
	}
	runtime.GC()
	for pause := time.Millisecond; retired.Load() >= before && pause < 100*time.Millisecond; pause *= 2 {
		time.Sleep(pause) // the clean-ups run after it
	}
	needed.Store(retired.Load())
}
