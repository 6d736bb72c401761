//go:build unix

package fence

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// words maps memory that, like a segment's, the race detector does not see.
func words(t *testing.T, n int) []uint64 {
	mem, err := unix.Mmap(-1, 0, 8*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

// TestRaceAnnotations checks that Release and Acquire tell the race detector of
// an order that it cannot see. Without -race it proves nothing.
func TestRaceAnnotations(t *testing.T) {
	for _, key := range []uint64{0, 1, 250, 251, 1<<64 - 1} {
		turn, guarded := &words(t, 1)[0], 0
		play := func(mine uint64) {
			for range 100 {
				for atomic.LoadUint64(turn) != mine {
					runtime.Gosched()
				}
				Acquire(key)
				guarded++
				Release(key)
				Publish(turn, 1-mine)
			}
		}
		done := make(chan bool)
		go func() { play(1); close(done) }()
		play(0)
		<-done
		if guarded != 200 {
			t.Errorf("counted %d", guarded)
		}
	}
}

const litmus = 200_000 // rounds

// TestMessagePassing checks that a reader that sees a flag sees the data that
// it announces: Publish comes after the stores before it, and loads after
// LoadLoad come after loads before it.
func TestMessagePassing(t *testing.T) {
	w := words(t, 64)
	data, flag := &w[0], &w[32]
	done := make(chan bool)
	go func() {
		for n := uint64(1); n <= litmus; n++ {
			*data = n
			Publish(flag, n)
		}
		close(done)
	}()
	for seen := uint64(0); seen < litmus; {
		seen = atomic.LoadUint64(flag)
		LoadLoad()
		if got := *data; got < seen {
			t.Fatalf("the flag is %d, but the data is %d", seen, got)
		}
	}
	<-done
}

// TestAnnouncement checks the two orders on which a sequence lock's recheck
// rests: a store after StoreStore is not seen before one before it, and a load
// before LoadLoad sees no later value than one after it.
func TestAnnouncement(t *testing.T) {
	w := words(t, 64)
	begin, data := &w[0], &w[32]
	done := make(chan bool)
	go func() {
		for n := uint64(1); n <= litmus; n++ {
			Publish(begin, n)
			StoreStore()
			*data = n
		}
		close(done)
	}()
	for seen := uint64(0); seen < litmus; {
		seen = *data
		LoadLoad()
		if announced := atomic.LoadUint64(begin); announced < seen {
			t.Fatalf("the data is %d, but only %d is announced", seen, announced)
		}
	}
	<-done
}
