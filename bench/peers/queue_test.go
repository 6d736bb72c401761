package peers

import (
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
)

// depth is how many messages a queue has room for. It is the default of this
// library's queues.
const depth = 64

// queues are the queues of this platform.
var queues = harness.Queues{
	"nats": {Create: createNATS, Open: openNATS, Prefetches: true},
}

func BenchmarkQueue(b *testing.B) { queues.Run(b) }
