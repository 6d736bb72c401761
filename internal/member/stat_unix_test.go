//go:build unix && !aix

package member

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestStatWhileInitialised checks that Stat finds a valid mapping or none,
// whenever it looks at a file that is initialised again and again with
// different geometries.
func TestStatWhileInitialised(t *testing.T) {
	p := mapping.Place{Name: "x", Dir: proctest.TempDir(t)}
	var images [3][]byte
	for i := range images {
		g := &layout.Geometry{Kind: layout.KindSegment, Persist: true, Slots: 2 + i, Capacity: 1 << (3 + 6*i), CodecID: "bytes"}
		must(t, g.Place(mapping.PageSize()))
		images[i] = make([]byte, g.Size())
		copy(images[i], layout.Mark(false))
		g.Init(images[i])
	}
	file, err := os.Create(mapping.Path(&p))
	must(t, err)
	defer file.Close()
	const ready, birth = 8, 88 // offsets from docs/format.md
	stop, stopped := make(chan bool), make(chan error)
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			image := images[n%len(images)]
			header := append([]byte(nil), image[:layout.HeadSize]...)
			binary.NativeEndian.PutUint64(header[birth:], uint64(n))
			format := append([]byte(nil), header[ready:ready+4]...)
			binary.NativeEndian.PutUint32(header[ready:], 0)
			for _, err := range []error{
				file.Truncate(0),
				write(file, layout.Mark(false), 0),
				file.Truncate(int64(len(image))),
				write(file, header, 0),
				write(file, format, ready),
			} {
				if err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	duration := 2 * time.Second
	if testing.Short() {
		duration = 200 * time.Millisecond
	}
	looks, found := 0, 0
	for end := time.Now().Add(duration); time.Now().Before(end); looks++ {
		s, err := Stat(&p)
		if err == nil {
			found++
			if i := s.Geometry.Slots - 2; s.Geometry.Capacity != 1<<(3+6*i) {
				t.Errorf("Stat = %+v", s.Geometry)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	close(stop)
	must(t, <-stopped)
	t.Logf("%d looks, of which %d found it", looks, found)
}

func write(f *os.File, b []byte, at int64) error {
	_, err := f.WriteAt(b, at)
	return err
}
