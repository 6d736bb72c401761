package peers

import (
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
)

// depth is how many messages a queue has room for, as a queue of this library
// by default.
const depth = 64

// queues are those of this platform.
var queues = harness.Queues{
	"nats": {Create: createNATS, Open: openNATS, Prefetches: true},
}

func BenchmarkQueue(b *testing.B) { queues.Run(b) }
