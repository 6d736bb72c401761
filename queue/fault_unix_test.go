//go:build unix && !aix

package queue_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
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
