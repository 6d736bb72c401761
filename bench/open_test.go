package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// An opening is a way to open a name that already exists.
type opening struct {
	name string                               // of the sub-benchmark
	hold func(name string) (io.Closer, error) // creates the name and keeps it open
	open func(name string) (io.Closer, error)
}

func openings() []opening {
	c := codec.Fixed[quote]()
	openSegment := func(name string) (io.Closer, error) { return segment.Open(name, c, nil) }
	openReader := func(name string) (io.Closer, error) { return segment.OpenReader(name, c, nil) }
	openMutex := func(name string) (io.Closer, error) { return openMutex(name) }
	return append([]opening{
		{"impl=segment/call=Open" + faultKey, openSegment, openSegment},
		{"impl=segment/call=OpenReader" + faultKey, openSegment, openReader},
		{"impl=ipcsync.Mutex/call=OpenMutex" + faultKey, openMutex, openMutex},
	}, rawOpenings...)
}

func BenchmarkOpenClose(b *testing.B) {
	for _, o := range openings() {
		harness.Run(b, o.name, 0, func(b *testing.B) {
			name := proctest.Name(b)
			held, err := o.hold(name)
			harness.Keep(b, held, err)
			for b.Loop() {
				h, err := o.open(name)
				if err != nil {
					b.Fatal(err)
				}
				if err := h.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFirst measures Open, the first Store or Load, and Close, with
// Options.Populate and without.
func BenchmarkFirst(b *testing.B) {
	for _, size := range []int{1 << 20, 16 << 20} {
		for _, call := range []string{"Store", "LoadInto"} {
			for _, populate := range []bool{false, true} {
				name := fmt.Sprintf("impl=segment/size=%s/call=%s/populate=%s%s", harness.SizeName(size), call, onOff(populate), faultKey)
				harness.Run(b, name, size, func(b *testing.B) { first(b, size, call == "Store", populate) })
			}
		}
	}
}

// first also reports the time of the Store or Load alone.
func first(b *testing.B, size int, store, populate bool) {
	name, value := proctest.Name(b), noise(size)
	held := open(b, name, codec.Bytes(), &segment.Options{Capacity: size, Slots: 2})
	for range 2 { // the system then has memory for both slots
		harness.Must(b, held.Store(value))
	}
	got := make([]byte, size)
	times := time.Duration(0)
	for b.Loop() {
		s, err := segment.Attach(name, codec.Bytes(), &segment.Options{Populate: populate})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if store {
			err = s.Store(value)
		} else {
			_, err = s.LoadInto(&got)
		}
		times += time.Since(start)
		if err = errors.Join(err, s.Close()); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := held.LoadInto(&got); err != nil || !bytes.Equal(got, value) {
		b.Fatalf("another value arrived, %v", err)
	}
	b.ReportMetric(float64(times)/float64(b.N), "first-ns")
}
