//go:build unix

package fault

import (
	"sync/atomic"
	"testing"
)

// BenchmarkLoad measures an access: bare, with a load of the state as at the
// end of each call, and in Guard in both modes. It also measures Watch and
// Forget, which a handle pays when it opens and closes; these include asking
// the kernel for the action.
func BenchmarkLoad(b *testing.B) {
	f := open(1)
	defer f.close()
	word, state := f.word(64), f.State()
	b.Run("impl=plain", func(b *testing.B) {
		for b.Loop() {
			atomic.LoadUint64(word)
		}
	})
	b.Run("impl=state", func(b *testing.B) {
		for b.Loop() {
			atomic.LoadUint64(word)
			if state.Load() != 0 {
				b.Fatal("lost")
			}
		}
	})
	for _, r := range []*Region{f.Region, guarded(b)} {
		impl := "guarded"
		if !r.Guarded() {
			impl = "trapped"
		} else if r == f.Region {
			continue // no trap on this platform
		}
		b.Run("impl="+impl, func(b *testing.B) {
			var got uint64
			for b.Loop() {
				if r.Guard(func() error { got += atomic.LoadUint64(word); return nil }) != nil {
					b.Fatal("lost")
				}
			}
		})
	}
}

func BenchmarkWatch(b *testing.B) {
	f := open(1)
	defer f.close()
	for b.Loop() {
		Watch(f.mem).Forget()
	}
}
