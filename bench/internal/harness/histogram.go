package harness

import (
	"math"
	"math/bits"
	"testing"
	"time"
)

// Each power of two has 1<<bucketBits buckets of the same width. The middle of
// a bucket differs from its values by at most 1/128.
const (
	bucketBits = 6
	buckets    = (63-bucketBits)<<bucketBits + 1<<bucketBits
)

// A Histogram records the times of all operations in memory of fixed size. Its
// buckets are those of HdrHistogram
// (https://hdrhistogram.github.io/HdrHistogram/): linear within a power of two.
// Quantiles are within 1 % of the real ones, and exact up to 127 ns.
type Histogram struct {
	counts [buckets]uint64
	n      uint64
	sum    time.Duration
}

// Add adds the time of one operation. A negative one counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.sum += d
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-bucketBits-1, 0)
	return shift<<bucketBits + int(v>>shift)
}

// middle returns the middle of a bucket.
func middle(bucket int) float64 {
	shift := max(bucket>>bucketBits-1, 0)
	first := uint64(bucket-shift<<bucketBits) << shift
	return float64(first) + float64(uint64(1)<<shift-1)/2
}

// Quantile returns the smallest time, in nanoseconds, within which at least the
// fraction q of all operations was complete. It is NaN if there were no
// operations.
func (h *Histogram) Quantile(q float64) float64 {
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	for i, n := range h.counts {
		if n >= rank {
			return middle(i)
		}
		rank -= n
	}
	return math.NaN()
}

// Mean returns the mean time in nanoseconds, which is exact.
func (h *Histogram) Mean() float64 { return float64(h.sum) / float64(h.n) }

// Report reports the mean as ns/op, and p50-ns, p99-ns and p99.9-ns.
func (h *Histogram) Report(b *testing.B) {
	b.ReportMetric(h.Mean(), "ns/op")
	b.ReportMetric(h.Quantile(0.50), "p50-ns")
	b.ReportMetric(h.Quantile(0.99), "p99-ns")
	b.ReportMetric(h.Quantile(0.999), "p99.9-ns")
}
