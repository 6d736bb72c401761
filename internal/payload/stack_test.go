package payload

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
)

// Get can load a value to a stack that the garbage collector shrinks, and so
// moves, at the same time.
func TestGetToMovingStack(t *testing.T) {
	p := New(codec.UTF16(), slots(t), "")
	in := "on the stack"
	n, err := p.Put(p.Slot(0), &in)
	if err != nil {
		t.Fatal(err)
	}
	p.Slot(0).Seal(1, 0, n)
	var done atomic.Bool
	go func() {
		for !done.Load() {
			runtime.GC()
		}
	}()
	defer done.Store(true)
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		grow(100)
		for range 3000 {
			var v string
			if err := p.Get(p.Slot(0), &v); err != nil || v != in {
				t.Fatalf("got %q, %v", v, err)
			}
		}
	}
}

// grow makes the stack large.
//
//go:noinline
func grow(frames int) byte {
	var frame [512]byte
	if frames > 0 {
		frame[frames] = grow(frames - 1)
	}
	return frame[frames/2]
}
