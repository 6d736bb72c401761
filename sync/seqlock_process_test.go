package ipcsync_test

import (
	"fmt"
	"strconv"
	"testing"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// shared is the layout of a mapping: the words of the sequence lock, and slots.
// All words of a slot are the same number.
type shared struct {
	counters ipcsync.Counters
	_        [48]byte
	slots    [3][64]uint64
}

func init() {
	roles["seqlock writer"] = seqlockWriter
	roles["seqlock reader"] = seqlockReader
}

// mapShared maps the memory NAME. It creates the memory, filled with zeros, if
// it does not exist.
func mapShared(name string, writable bool) (*shared, func(), error) {
	p := &mapping.Place{Name: name}
	obj, err := mapping.Enter(p, true, false, proctest.Patience)
	if err != nil {
		return nil, nil, err
	}
	defer obj.UnlockRegistry()
	size := int(unsafe.Sizeof(shared{}))
	if obj.Created() {
		if err := obj.Reserve(0, int64(size)); err != nil {
			return nil, nil, err
		}
	}
	view, err := obj.Map(size, writable)
	if err != nil {
		return nil, nil, err
	}
	end := func() {
		view.Unmap()
		if obj.Created() && p.Lasting() {
			obj.Unlink()
		}
		obj.Close()
	}
	return (*shared)(unsafe.Pointer(unsafe.SliceData(view.Mem))), end, nil
}

// seqlockWriter NAME SLOTS writes versions to the memory NAME until it is
// killed.
func seqlockWriter(args []string) error {
	s, _, err := mapShared(args[0], true)
	if err != nil {
		return err
	}
	slots, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	l := ipcsync.NewSeqLock(&s.counters, slots, 16)
	fmt.Println("writing")
	for {
		version, slot := l.WriteBegin()
		for i := range s.slots[slot] {
			s.slots[slot][i] = version
		}
		l.WriteEnd(version)
	}
}

// seqlockReader NAME SLOTS reads the memory NAME through a read-only mapping,
// until the test says something.
func seqlockReader(args []string) error {
	s, _, err := mapShared(args[0], false)
	if err != nil {
		return err
	}
	slots, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	l := ipcsync.NewSeqLock(&s.counters, slots, 16)
	last := uint64(0)
	return proctest.Repeat(func() error {
		version, slot := l.ReadBegin()
		copied := s.slots[slot]
		if l.ReadRetry(version) {
			return nil
		}
		if version < last {
			return fmt.Errorf("went back from version %d to %d", last, version)
		}
		last = version
		for _, word := range copied {
			if word != version {
				return fmt.Errorf("torn: version %d holds %d", version, copied)
			}
		}
		return nil
	})
}

// Readers in other processes see no torn value while writers write, die and are
// replaced.
func TestSeqLockOfProcesses(t *testing.T) {
	for slots := 2; slots <= 3; slots++ {
		name, args := proctest.Name(t), strconv.Itoa(slots)
		s, end, err := mapShared(name, false)
		must(t, err)
		defer end()
		readers := proctest.StartGroup(t, 2, "seqlock reader", name, args)
		readers.Expect("ready")
		l := ipcsync.NewSeqLock(&s.counters, slots, 16)
		for range kills() / 5 {
			w := proctest.Start(t, "seqlock writer", name, args)
			w.Expect("writing")
			from := l.Version()
			proctest.Eventually(t, "the writer has written 20000 versions", func() bool { return l.Version() >= from+20000 })
			w.Kill()
		}
		readers.StopRepeating()
	}
}
