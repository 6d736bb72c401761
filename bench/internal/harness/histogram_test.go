package harness

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"exact":       func() time.Duration { return time.Duration(random.IntN(128)) },
		"uniform":     func() time.Duration { return time.Duration(random.IntN(1e6)) },
		"exponential": func() time.Duration { return time.Duration(random.ExpFloat64() * 5e3) },
		"all powers":  func() time.Duration { return time.Duration(random.Uint64()) >> random.IntN(63) },
		"one value":   func() time.Duration { return 12345 },
	} {
		for _, n := range []int{1, 2, 1000, 100_000} {
			h, all, sum := new(Histogram), []float64(nil), 0.0
			for range n {
				d := draw() & math.MaxInt64 >> 20 // keeps the sum from overflowing
				h.Add(d)
				all = append(all, float64(d))
				sum += float64(d)
			}
			slices.Sort(all)
			for _, q := range []float64{0, 0.25, 0.5, 0.99, 0.999, 1} {
				want := all[max(int(math.Ceil(q*float64(n))), 1)-1]
				got := h.Quantile(q)
				if off := math.Abs(got - want); off > want/100 || want < 128 && off != 0 {
					t.Errorf("%s: quantile %v of %d is %v, want %v", name, q, n, got, want)
				}
			}
			if got, want := h.Mean(), sum/float64(n); math.Abs(got-want) > want/1e9 {
				t.Errorf("%s: mean of %d is %v, want %v", name, n, got, want)
			}
		}
	}
}

// Buckets are numbered without gaps, and each value is in the bucket with the
// nearest middle.
func TestBuckets(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<20; v++ {
		i := bucket(v)
		if i != last && i != last+1 {
			t.Fatalf("%d is in bucket %d after %d", v, i, last)
		}
		last = i
	}
	for _, v := range []uint64{0, 1, 127, 128, 129, 1 << 40, math.MaxInt64} {
		if m := middle(bucket(v)); math.Abs(m-float64(v)) > float64(v)/128 {
			t.Errorf("%d is in the bucket of %v", v, m)
		}
	}
	if got := bucket(math.MaxInt64); got != buckets-1 {
		t.Errorf("the last bucket is %d of %d", got, buckets)
	}
}

func TestHistogramNone(t *testing.T) {
	h := new(Histogram)
	if got := h.Quantile(0.5); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
	h.Add(-time.Second)
	if got := h.Quantile(1); got != 0 {
		t.Errorf("a negative time counts as %v", got)
	}
}
