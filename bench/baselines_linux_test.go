package bench

import (
	"slices"
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// slotHeader is the offset of a segment's first value in its page. Alignment
// affects the speed of copies.
const slotHeader = 64

// mapped returns n pieces of shared memory that hold content, spaced like the
// slots of a segment.
func mapped(b *testing.B, content []byte, n int) [][]byte {
	name, stride := proctest.Name(b), slotHeader+(len(content)+63)&^63
	f, err := createShm(name, n*stride, nil)
	harness.Keep(b, f, err)
	mem, err := mapShm(name)
	harness.Keep(b, mem, err)
	pieces := slices.Collect(slices.Chunk([]byte(mem), stride))
	for i := range pieces {
		pieces[i] = pieces[i][slotHeader:][:len(content):len(content)]
		copy(pieces[i], content)
	}
	return pieces
}

// runCopy runs f with a piece of shared memory and one of the heap of the same
// size, as destination and source of a copy in the given direction.
func (s *sample[T]) runCopy(b *testing.B, impl string, dir direction, f func(b *testing.B, dst, src []byte)) {
	s.run(b, impl, "", func(b *testing.B) {
		dst, src := make([]byte, len(s.encoded)), mapped(b, s.encoded, 1)[0]
		if dir == heapToMapping {
			copy(dst, src)
			dst, src = src, dst
			clear(dst)
		}
		f(b, dst, src)
		s.checkBytes(b, dst)
	})
}

// baselines runs the benchmarks that Load and Store are compared with.
func (s *sample[T]) baselines(b *testing.B, dir direction) {
	s.runCopy(b, "copy", dir, func(b *testing.B, dst, src []byte) {
		for b.Loop() {
			copy(dst, src)
		}
	})
	if s.plain {
		s.runCopy(b, "assign", dir, func(b *testing.B, dst, src []byte) {
			d, s := at[T](dst), at[T](src)
			for b.Loop() {
				*d = *s
			}
		})
	}
	if s.reuses {
		s.runCopy(b, "mutex", dir, func(b *testing.B, dst, src []byte) {
			mu := new(sync.Mutex)
			for b.Loop() {
				mu.Lock()
				copy(dst, src)
				mu.Unlock()
			}
		})
	}
	if s.reuses && dir == mappingToHeap {
		s.runCopy(b, "rwmutex", dir, func(b *testing.B, dst, src []byte) {
			mu := new(sync.RWMutex)
			for b.Loop() {
				mu.RLock()
				copy(dst, src)
				mu.RUnlock()
			}
		})
	}
	if s.name == "Bytes" && dir == heapToMapping {
		s.run(b, "copyring", "", func(b *testing.B) {
			ring := mapped(b, make([]byte, len(s.encoded)), segment.DefaultSlots)
			i := 0
			for b.Loop() {
				copy(ring[i], s.encoded)
				if i++; i == len(ring) {
					i = 0
				}
			}
			s.checkBytes(b, ring[0])
		})
	}
	if s.name == "String" && dir == mappingToHeap {
		s.run(b, "convert", "", func(b *testing.B) {
			mem, v := mapped(b, s.encoded, 1)[0], new(string)
			for b.Loop() {
				*v = string(mem)
			}
			s.checkBytes(b, []byte(*v))
		})
	}
}
