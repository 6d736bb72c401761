//go:build unix && !aix

package queue_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// If a peer truncates the file under live handles, all calls return ErrCorrupt,
// also those that wait. The bytes of a message that was received stay readable:
// they are zeros, or a copy that the handle has.
func TestTruncated(t *testing.T) {
	for _, keep := range []int64{0, 4096} {
		t.Run(fmt.Sprint("keep=", keep), func(t *testing.T) {
			type page [8192]byte
			o := &queue.Options{Dir: proctest.TempDir(t), Depth: 4}
			q, err := queue.Open("q", codec.Fixed[page](), o)
			must(t, err)
			empty, err := queue.Open("empty", codec.Fixed[page](), o)
			must(t, err)
			send(t, q, page{1}, page{2}, page{3})
			d, returned := receive(t, q, page{1}, 1), receive(t, q, page{2}, 1)
			b := d.Bytes()
			waiting := make(chan error)
			go func() {
				_, err := empty.Receive(patient(t))
				waiting <- err
			}()
			proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
			for _, name := range []string{"q", "empty"} {
				must(t, os.Truncate(filepath.Join(o.Dir, name), keep))
			}
			if zeros := make([]byte, len(b)); !bytes.Equal(b[1:], zeros[1:]) || b[0] > 1 {
				t.Errorf("the bytes of the received message are %v…", b[:8])
			}
			for what, do := range map[string]func() error{
				"Done":       d.Done,
				"Return":     returned.Return,
				"Send":       func() error { return q.Send(patient(t), page{}) },
				"TrySend":    func() error { _, err := q.TrySend(page{}); return err },
				"Receive":    func() error { _, err := q.Receive(patient(t)); return err },
				"TryReceive": func() error { _, err := q.TryReceive(); return err },
				"Loan":       func() error { _, err := q.Loan(patient(t)); return err },
				"Shut":       q.Shut,
			} {
				t.Run(what, func(t *testing.T) { want(t, do(), sharedseg.ErrCorrupt, "truncated") })
			}
			q.Len()
			want(t, proctest.Receive(t, waiting), sharedseg.ErrCorrupt)
			_, err = queue.Open("q", codec.Fixed[page](), o)
			want(t, err, sharedseg.ErrCorrupt)
			must(t, q.Close())
			must(t, empty.Close())
		})
	}
}

// The addresses of the bytes of a message or a loan are not released while they
// may be in use, although the handle was closed or is unreachable, whatever a
// peer has written.
func TestDroppedInUse(t *testing.T) {
	const depth = 4
	for what, change := range map[string]func(t *testing.T, o *queue.Options){
		"nothing": func(t *testing.T, o *queue.Options) {},
		"mutex": func(t *testing.T, o *queue.Options) {
			patch(t, o, "q", layout.MutexOff, make([]byte, 4))
		},
		"tail": func(t *testing.T, o *queue.Options) {
			patch(t, o, "q", field(t, o, 64)+256, bytes.Repeat([]byte{1}, 8))
		},
		"states": func(t *testing.T, o *queue.Options) {
			for i := range int64(depth) {
				patch(t, o, "q", field(t, o, 56)+i*field(t, o, 48), make([]byte, 8))
			}
		},
		"length": func(t *testing.T, o *queue.Options) {
			must(t, os.Truncate(filepath.Join(o.Dir, "q"), int64(os.Getpagesize())))
		},
	} {
		for _, lent := range []bool{true, false} {
			for _, closed := range []bool{true, false} {
				if lent && !closed && what != "mutex" {
					continue // the handle stays open, as it holds the lock
				}
				t.Run(fmt.Sprintf("%s/lent=%v/closed=%v", what, lent, closed), func(t *testing.T) {
					o := &queue.Options{Dir: proctest.TempDir(t), Depth: depth}
					b := dropped(t, o, lent, func(q *queue.Queue[[]byte]) {
						if change(t, o); closed {
							must(t, q.Close())
						}
					})
					for range 10 {
						runtime.GC()
						time.Sleep(2 * time.Millisecond) // a clean-up runs after the collection
					}
					defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
					bytes.Count(b, []byte{1}) // faults if the memory is gone
				})
			}
		}
	}
}

// dropped returns the bytes of a message or a loan of a handle that is
// unreachable by then. It calls change meanwhile.
func dropped(t *testing.T, o *queue.Options, lent bool, change func(q *queue.Queue[[]byte])) []byte {
	q, err := queue.Open("q", codec.Bytes(), o)
	must(t, err)
	if lent {
		l, err := q.Loan(t.Context())
		must(t, err)
		change(q)
		return l.Bytes()
	}
	send(t, q, []byte("value"))
	d, err := q.Receive(t.Context())
	must(t, err)
	b := d.Bytes()
	change(q)
	return b
}

// field returns a number of the header of a queue.
func field(t *testing.T, o *queue.Options, off int) int64 {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(o.Dir, "q"))
	must(t, err)
	return int64(binary.NativeEndian.Uint64(file[off:]))
}
