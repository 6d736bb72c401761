package peers

import (
	"bytes"

	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/edsrzf/mmap-go"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// slotHeader is the offset of a segment's first value in its page. Alignment
// affects the speed of copies.
const slotHeader = 64

// BenchmarkLoad copies from the mapping to the heap.
func BenchmarkLoad(b *testing.B) {
	copies(b, func(heap, mapped []byte) (dst, src []byte) { return heap, mapped })
}

// BenchmarkStore copies from the heap to the mapping.
func BenchmarkStore(b *testing.B) {
	copies(b, func(heap, mapped []byte) (dst, src []byte) { return mapped, heap })
}

func copies(b *testing.B, direction func(heap, mapped []byte) (dst, src []byte)) {
	for _, size := range []struct {
		name string
		n    int
	}{{"64B", 64}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}} {
		harness.Run(b, "impl=mmap-go/codec=Bytes/size="+size.name, size.n, func(b *testing.B) {
			name := proctest.Name(b)
			file, err := createFile(name, slotHeader+size.n)
			harness.Keep(b, file, err)
			mem, err := openMapping(name)
			harness.Keep(b, mem, err)
			dst, src := direction(make([]byte, size.n), mem.MMap[slotHeader:])
			rand.NewChaCha8([32]byte{}).Read(src)
			for b.Loop() {
				copy(dst, src)
			}
			if !bytes.Equal(dst, src) {
				b.Fatalf("a value of %d bytes arrived as another one", len(src))
			}
		})
	}
}

func BenchmarkOpenClose(b *testing.B) {
	harness.Run(b, "impl=mmap-go", 0, func(b *testing.B) {
		name := proctest.Name(b)
		file, err := createFile(name, os.Getpagesize())
		harness.Keep(b, file, err)
		for b.Loop() {
			m, err := openMapping(name)
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// createFile returns a file of n bytes, which is removed when it is closed.
func createFile(name string, n int) (io.Closer, error) {
	f, err := os.Create(filepath.Join(shmDir, name))
	if err != nil {
		return nil, err
	}
	_, err = f.Write(make([]byte, n)) // allocates them
	return file{f}, err
}

type file struct{ *os.File }

func (f file) Close() error {
	err := f.File.Close()
	os.Remove(f.Name())
	return err
}

// mapping is the mapping of a whole file.
type mapping struct{ mmap.MMap }

func openMapping(name string) (*mapping, error) {
	f, err := os.OpenFile(filepath.Join(shmDir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := mmap.Map(f, mmap.RDWR, 0)
	return &mapping{m}, err
}

func (m *mapping) Close() error { return m.Unmap() }
