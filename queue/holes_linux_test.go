package queue_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
	"golang.org/x/sys/unix"
)

// A message that cannot be stored as a whole, because the file has holes and
// the file system is full, is not sent. The hole is in the message or, if that
// is empty, in the header of its slot.
func TestSendIntoHoles(t *testing.T) {
	if proctest.Emulated() {
		t.Skip("the emulator may lack fallocate")
	}
	const size = 64 << 10
	for _, c := range []struct {
		what string
		v    []byte
		hole int64 // from the slot
	}{
		{"value", bytes.Repeat([]byte{1}, size), size / 2},
		{"empty", nil, 0},
	} {
		for how, send := range map[string]func(q *queue.Queue[[]byte]) error{
			"Send": func(q *queue.Queue[[]byte]) error { return q.Send(t.Context(), c.v) },
			"Publish": func(q *queue.Queue[[]byte]) error {
				l, err := q.Loan(t.Context())
				if err != nil {
					return err
				}
				return l.Publish(copy(l.Bytes(), c.v))
			},
		} {
			t.Run(how+"/"+c.what, func(t *testing.T) {
				dir := proctest.Mount(t, "tmpfs", "size=1m")
				o := &queue.Options{Dir: dir, Capacity: size, Depth: 1}
				q, err := queue.Open("q", codec.Bytes(), o)
				proctest.Must(t, err)
				defer q.Close()
				other, err := queue.Open("q", codec.Bytes(), o)
				proctest.Must(t, err)
				defer other.Close()
				f, err := os.OpenFile(filepath.Join(dir, "q"), os.O_RDWR, 0)
				proctest.Must(t, err)
				defer f.Close()
				const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
				proctest.Must(t, unix.Fallocate(int(f.Fd()), punch, field(t, o, 56)+c.hole, size/4))
				full := filepath.Join(dir, "full")
				if os.WriteFile(full, make([]byte, 64<<20), 0o600) == nil {
					t.Fatal("the file system is not small")
				}
				proctest.Want(t, send(q), sharedseg.ErrNoSpace)
				proctest.Must(t, os.Remove(full))
				if d, err := other.TryReceive(); d != nil || err != nil {
					t.Fatalf("TryReceive = %v, %v", d, err)
				}
				if sent, err := other.TrySend(c.v); !sent || err != nil { // the lock is free
					t.Fatalf("TrySend = %v, %v", sent, err)
				}
				// A handle whose memory is lost takes no message.
				_, err = q.Receive(t.Context())
				proctest.Want(t, err, sharedseg.ErrNoSpace)
				d, err := other.TryReceive()
				proctest.Must(t, err)
				if d == nil || d.Attempt() != 1 {
					t.Fatalf("TryReceive after that: %+v", d)
				}
				proctest.Must(t, d.Done())
			})
		}
	}
}
