package bench

import (
	"io"
	"testing"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// An opening is a way to open a name that is there already.
type opening struct {
	name string                               // of the sub-benchmark
	hold func(name string) (io.Closer, error) // keeps it there
	open func(name string) (io.Closer, error)
}

func openings() []opening {
	c := codec.Fixed[quote]()
	openSegment := func(name string) (io.Closer, error) { return segment.Open(name, c, nil) }
	openReader := func(name string) (io.Closer, error) { return segment.OpenReader(name, c, nil) }
	openMutex := func(name string) (io.Closer, error) { return openMutex(name, true) }
	return append([]opening{
		{"impl=segment/call=Open", openSegment, openSegment},
		{"impl=segment/call=OpenReader", openSegment, openReader},
		{"impl=" + ipcMutex + "/call=OpenMutex", openMutex, openMutex},
	}, rawOpenings...)
}

func BenchmarkOpenClose(b *testing.B) {
	for _, o := range openings() {
		run(b, o.name, 0, func(b *testing.B) {
			name := proctest.Name(b)
			held, err := o.hold(name)
			keep(b, held, err)
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
