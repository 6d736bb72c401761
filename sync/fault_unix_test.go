//go:build unix && !aix

package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	ipcsync "github.com/sharedseg/sharedseg/sync"
)

// A peer that truncates the file costs the others the mutex, not the process.
func TestTruncated(t *testing.T) {
	proctest.NeedsFaultAddress(t)
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprint("held=", held), func(t *testing.T) {
			o := &ipcsync.Options{Dir: proctest.TempDir(t)}
			m, waits := open(t, "m", o), open(t, "m", o)
			got := make(chan error, 1)
			if held {
				must(t, m.Lock(t.Context()))
				go func() { got <- waits.Lock(patient(t)) }()
				time.Sleep(10 * time.Millisecond)
			}
			must(t, os.Truncate(filepath.Join(o.Dir, "m"), 0))
			if held {
				want(t, receive(t, got), segment.ErrCorrupt)
			}
			want(t, m.Lock(t.Context()), segment.ErrCorrupt)
			want(t, lockBy("TryLock", m), segment.ErrCorrupt)
			want(t, m.Unlock(), segment.ErrCorrupt)
			if m.Held() {
				t.Error("held")
			}
			_, err := ipcsync.OpenMutex("m", o)
			want(t, err, segment.ErrCorrupt)
			must(t, m.Close())
		})
	}
}
