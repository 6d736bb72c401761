package park

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	proctest.Main(m, map[string]func([]string) error{"ponger": ponger})
}

// mapWord maps a file's first word.
func mapWord(path string) (*atomic.Uint32, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem))), nil
}

const rounds = 1000

// volley waits until the word is odd, or even, and adds 1, rounds times.
func volley(word *atomic.Uint32, parity uint32) {
	for range rounds {
		for v := word.Load(); v%2 != parity; v = word.Load() {
			Wait(word, v, time.Hour)
		}
		word.Add(1)
		Wake(word, 1)
	}
}

// ponger answers in the word of FILE.
func ponger(args []string) error {
	word, err := mapWord(args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	volley(word, 1)
	return nil
}

// A Wake reaches who sleeps on another mapping of the same word, in this process or another. Without a limit to
// rescue it, one lost Wake would stop the volley.
func TestWakeAcross(t *testing.T) {
	for _, where := range []string{"mapping", "process"} {
		t.Run(where, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "word")
			if err := os.WriteFile(path, make([]byte, 4), 0o600); err != nil {
				t.Fatal(err)
			}
			var words [2]*atomic.Uint32
			for i := range words {
				var err error
				if words[i], err = mapWord(path); err != nil {
					t.Fatal(err)
				}
				defer unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(words[i])), 4))
			}
			if where == "process" {
				p := proctest.Start(t, "ponger", path)
				p.Expect("ready")
				defer p.Wait()
			} else {
				done := make(chan bool)
				go func() { volley(words[1], 1); close(done) }()
				defer func() { <-done }()
			}
			within(t, "the volley", func() { volley(words[0], 0) })
		})
	}
}
