//go:build unix && !aix

package queue_test

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// FuzzLive uses a queue while a hostile peer writes into it between the calls:
// tickets, states, lengths, the cursor, the mutex word, generations, event
// counts. Whatever it writes, no call panics or hangs, and the bytes of a
// message lie within its slot. A patch names a field of the format, so that few
// bytes of input reach far.
func FuzzLive(f *testing.F) {
	const (
		mutexOff, memberOff, depth, capacity = 128, 320, 3, 64
		hang                                 = 30 * time.Second // much longer than any call takes on a loaded machine
	)
	f.Add([]byte{0, 2, 4, 0, 1, 3, 5, 6})
	for field := range byte(16) {
		f.Add([]byte{0, 0, 2, 32 + field, 255, 255, 255, 255, 255, 255, 255, 255, 0, 2, 3, 4, 5, 6, 7, 1})
		f.Add([]byte{0, 2, 32 + field, 1, 0, 0, 0, 0, 0, 0, 128, 0, 2, 3, 4, 5, 6, 7, 1})
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		name, o := proctest.Name(t), &queue.Options{Dir: proctest.TempDir(t), Depth: depth, Capacity: capacity}
		var handles [2]*queue.Queue[[]byte]
		for i := range handles {
			q, err := queue.Open(name, codec.Bytes(), o)
			must(t, err)
			handles[i] = q
		}
		file, err := os.OpenFile(filepath.Join(o.Dir, name), os.O_RDWR, 0)
		must(t, err)
		defer file.Close()
		var head [128]byte
		_, err = file.ReadAt(head[:], 0)
		must(t, err)
		u64 := func(off int) int64 { return int64(binary.NativeEndian.Uint64(head[off:])) }
		wait, area, stride := u64(64), u64(56), u64(48)
		fields := []int64{
			wait + 256, wait + 320, wait + 384, // tail, head, cursor
			mutexOff, memberOff, memberOff + 8, // the mutex word, and the generation and process ID of its owner
			wait + 64, wait + 128,
		}
		for i := range int64(depth) {
			fields = append(fields, area+i*stride, area+i*stride+8, area+i*stride+16)
		}
		next := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		var held []*queue.Delivery[[]byte]
		done := make(chan struct{})
		go func() {
			defer close(done)
			for len(script) > 0 {
				op := next()
				q := handles[op>>3&1]
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				switch {
				case op >= 32:
					var v [8]byte
					for i := range v {
						v[i] = next()
					}
					n := 8
					if field := fields[int(op)%len(fields)]; field == mutexOff {
						n = 4
					}
					if _, err := file.WriteAt(v[:n], fields[int(op)%len(fields)]); err != nil {
						t.Error(err)
					}
				case op&7 == 0:
					q.Send(ctx, make([]byte, op))
				case op&7 == 1:
					q.TrySend([]byte{op})
				case op&7 == 2:
					if d, err := q.TryReceive(); err == nil && d != nil {
						held = append(held, d)
					}
				case op&7 == 3:
					if d, err := q.Receive(ctx); err == nil {
						held = append(held, d)
					}
				case op&7 == 4 && len(held) > 0:
					if b := held[0].Bytes(); len(b) > capacity {
						t.Errorf("%d bytes", len(b))
					}
					if v, err := held[0].Value(); err == nil && len(v) > capacity {
						t.Errorf("%d bytes", len(v))
					}
					held[0].Done()
					held = held[1:]
				case op&7 == 5 && len(held) > 0:
					held[0].Return()
					held = held[1:]
				case op&7 == 6:
					if n := q.Len(); n < 0 || n > depth {
						t.Errorf("Len = %d", n)
					}
					if l, err := q.Loan(ctx); err == nil {
						l.Publish(int(op) % (capacity + 1))
					}
				case op == 7:
					// The lock can have a forged owner that never unlocks, and
					// Shut has no context.
					if q.Send(ctx, nil) == nil {
						q.Shut()
					}
				}
				cancel()
			}
			for _, q := range handles {
				q.Close()
			}
			for _, d := range held {
				d.Return()
			}
		}()
		select {
		case <-done:
		case <-time.After(hang):
			panic("a call hangs")
		}
	})
}
