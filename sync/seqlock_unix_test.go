//go:build unix

package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/sharedseg/sharedseg/internal/proctest"
	ipcsync "github.com/sharedseg/sharedseg/sync"
	"golang.org/x/sys/unix"
)

// shared is a mapping of the tests' own: the sequence lock's words, and slots whose words are all the same number.
type shared struct {
	counters ipcsync.Counters
	_        [48]byte
	slots    [3][64]uint64
}

func init() {
	roles["seqlock writer"] = seqlockWriter
	roles["seqlock reader"] = seqlockReader
}

func mapShared(path string, prot int) (*shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, int(unsafe.Sizeof(shared{})), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*shared)(unsafe.Pointer(unsafe.SliceData(mem))), nil
}

// seqlockWriter writes versions to FILE of SLOTS until it is killed.
func seqlockWriter(args []string) error {
	s, err := mapShared(args[0], unix.PROT_READ|unix.PROT_WRITE)
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

// seqlockReader reads FILE of SLOTS, through a read-only mapping, until its input ends.
func seqlockReader(args []string) error {
	s, err := mapShared(args[0], unix.PROT_READ)
	if err != nil {
		return err
	}
	slots, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		proctest.Await()
		close(done)
	}()
	l := ipcsync.NewSeqLock(&s.counters, slots, 16)
	for last := uint64(0); ; {
		version, slot := l.ReadBegin()
		copied := s.slots[slot]
		if l.ReadRetry(version) {
			continue
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
		select {
		case <-done:
			return nil
		default:
		}
	}
}

// Readers in other processes see no torn value while writers write, die and are replaced.
func TestSeqLockOfProcesses(t *testing.T) {
	for slots := 2; slots <= 3; slots++ {
		path, args := filepath.Join(t.TempDir(), "shared"), strconv.Itoa(slots)
		must(t, os.WriteFile(path, make([]byte, unsafe.Sizeof(shared{})), 0o600))
		s, err := mapShared(path, unix.PROT_READ)
		must(t, err)
		defer unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
		readers := []*proctest.Proc{
			proctest.Start(t, "seqlock reader", path, args),
			proctest.Start(t, "seqlock reader", path, args),
		}
		l := ipcsync.NewSeqLock(&s.counters, slots, 16)
		for range kills() / 5 {
			w := proctest.Start(t, "seqlock writer", path, args)
			w.Expect("writing")
			for from, wait := l.Version(), time.Now(); l.Version() < from+20000; time.Sleep(time.Millisecond) {
				if time.Since(wait) > proctest.Patience {
					t.Fatal("the writer does not get on")
				}
			}
			w.Kill()
		}
		for _, r := range readers {
			r.Wait()
		}
	}
}
