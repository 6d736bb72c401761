package ipcsync_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// The generations of a member slot wrap round after a million holders. The
// death of an owner is noticed after that, too, even if the next holder of its
// slot would get the generation of the owner.
func TestGenerationsWrap(t *testing.T) {
	const (
		rotor, generations = 96, 320
		last               = 1<<20 - 1
	)
	o := &ipcsync.Options{Dir: proctest.TempDir(t), Persist: true}
	must(t, open(t, "m", o).Close())
	// next makes slot 0 the next handle's slot, and generation the generation
	// of its last holder.
	next := func(generation uint32) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(o.Dir, "m"), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		for off, v := range map[int64]uint32{rotor: 0, generations: generation} {
			_, err := f.WriteAt(binary.NativeEndian.AppendUint32(nil, v), off)
			must(t, err)
		}
	}
	repairs := 0
	for i, c := range []struct{ owner, before uint32 }{
		{last - 1, last - 1}, // the next generation is the last
		{last, last},         // the next generation is 1
		{1, 1},               // the next generation is 2
		{last, last - 1},     // the next generation would be the owner's
		{1, last},            // the same at generation 1
	} {
		next(c.owner - 1)
		dies := open(t, "m", o)
		must(t, dies.Lock(patient(t)))
		must(t, dies.Close())
		next(c.before)
		mends := open(t, "m", &ipcsync.Options{Dir: o.Dir, Repair: func() error { repairs++; return nil }})
		must(t, mends.Lock(patient(t)))
		if repairs != i+1 {
			t.Errorf("owner of generation %d, next holder after generation %d: Repair ran %d times, want %d", c.owner, c.before, repairs, i+1)
		}
		must(t, mends.Unlock())
		must(t, mends.Close())
	}
}
