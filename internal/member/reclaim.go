package member

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sharedseg/sharedseg/internal/mapping"
)

// Closed handles keep their addresses until the garbage collector finds them
// unreachable. The collector does not know how many addresses they keep.
var (
	retired atomic.Int64 // bytes at these addresses
	needed  atomic.Int64 // how many of these were still reachable at the last collection
)

// reclaimAt is how many bytes make reclaim run the collector.
const reclaimAt = 64 << 20

// reclaim runs the garbage collector, so that it releases addresses before this
// process has none left. Without addresses the collector itself cannot run.
func reclaim() {
	before := retired.Load()
	needed.Store(min(needed.Load(), before))
	if before-needed.Load() < reclaimAt || !mapping.AddressesLimited() {
		return
	}
	runtime.GC()
	for pause := time.Millisecond; retired.Load() >= before && pause < 100*time.Millisecond; pause *= 2 {
		time.Sleep(pause) // the clean-ups run after the collection
	}
	needed.Store(retired.Load())
}
