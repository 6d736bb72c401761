package goroutine_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/internal/goroutine"
)

// known skips a test on architectures where ID always returns 0.
func known(t *testing.T) {
	t.Helper()
	if goroutine.ID() == 0 {
		t.Skip("goroutine IDs are unknown on this architecture")
	}
}

func TestKnownHere(t *testing.T) {
	switch runtime.GOARCH {
	case "amd64", "386", "arm64", "riscv64":
		if goroutine.ID() == 0 {
			t.Error("ID = 0")
		}
	}
}

// TestSame checks that a goroutine's ID stays the same while its stack moves,
// whatever thread it runs on.
func TestSame(t *testing.T) {
	known(t)
	id := goroutine.ID()
	var deep func(n int) byte
	deep = func(n int) byte {
		var frame [1 << 10]byte
		frame[n%len(frame)] = byte(n)
		if now := goroutine.ID(); now != id {
			t.Fatalf("ID = %#x, was %#x", now, id)
		}
		if n > 0 {
			frame[0] += deep(n - 1)
		}
		return frame[n/2%len(frame)]
	}
	deep(1 << 12)
	for range 100 {
		runtime.GC() // shrinks stacks
		runtime.Gosched()
		if now := goroutine.ID(); now != id {
			t.Fatalf("ID = %#x, was %#x", now, id)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	deep(10)
}

func TestDistinct(t *testing.T) {
	known(t)
	const goroutines = 1000
	ids := make(chan uintptr, goroutines)
	end := make(chan struct{})
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			ids <- goroutine.ID()
			<-end
		})
	}
	seen := map[uintptr]bool{0: true, goroutine.ID(): true}
	for range goroutines {
		id := <-ids
		if seen[id] {
			t.Errorf("two goroutines have the ID %#x", id)
		}
		seen[id] = true
	}
	close(end)
	all.Wait()
}

func BenchmarkID(b *testing.B) {
	for b.Loop() {
		goroutine.ID()
	}
}

// BenchmarkStack measures the alternative: the number in a stack trace.
func BenchmarkStack(b *testing.B) {
	var buf [64]byte
	for b.Loop() {
		runtime.Stack(buf[:], false)
	}
}
