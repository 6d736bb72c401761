package member

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/mapping"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

// TestDirty checks that the next handle to join learns of the death of a
// mutex's owner, whatever the owner and the initialisers after it have left. A
// mapping of another kind is refused. A failed join, and Sweep, leave the file
// as it is.
func TestDirty(t *testing.T) {
	g := &layout.Geometry{Kind: layout.KindMutex}
	must(t, g.Place(mapping.PageSize()))
	file := func(dirtyMark bool, word uint32) []byte {
		b := append(layout.Mark(dirtyMark), make([]byte, g.Size()-int64(len(layout.Mark(false))))...)
		g.Init(b)
		binary.NativeEndian.PutUint32(b[layout.MutexOff:], word)
		return b
	}
	notReady := func(b []byte) []byte { clear(b[8:12]); return b }
	owner := uint32(layout.NewIdent(7, 3))
	foreign := file(false, owner)
	binary.NativeEndian.PutUint32(foreign[8:], layout.Format+1)
	failed := errors.New("no geometry")
	for _, c := range []struct {
		what    string
		content []byte
		dirty   bool
	}{
		{"a mark", layout.Mark(false), false},
		{"a dirty mark", layout.Mark(true), true},
		{"a dirty mark, cut off", layout.Mark(true)[:16], false},
		{"a dirty mark over a file", notReady(file(true, 0)), true},
		{"a mark over a file", notReady(file(false, owner)), false},
		{"free", file(false, 0), false},
		{"free, begun over a death", file(true, 0), false},
		{"free, with waiters", file(false, layout.WaitersBit), false},
		{"owned", file(false, owner), true},
		{"owned, with waiters", file(false, owner|layout.WaitersBit), true},
		{"inconsistent", file(false, layout.InconsistentBit), true},
		{"of a later format", foreign, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := in(proctest.TempDir(t))
			path := mapping.Path(&s.Place)
			write := func() { must(t, os.WriteFile(path, c.content, 0o600)) }
			is := func(what string) {
				t.Helper()
				if now, err := os.ReadFile(path); c.dirty && !bytes.Equal(now, c.content) || !c.dirty && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("after %s: %d bytes, %v", what, len(now), err)
				}
			}
			write()
			if swept, err := Sweep(&s.Place); swept == c.dirty || err != nil {
				t.Errorf("Sweep = %v, %v", swept, err)
			}
			is("Sweep")

			write()
			fails := in(s.Place.Dir)
			fails.New = func(int) (*layout.Geometry, error) { return nil, failed }
			_, err := Join(OpenOrCreate, fails)
			want(t, err, failed)
			is("an initialisation that failed")

			write()
			if c.dirty {
				_, err := Join(OpenOrCreate, segment(in(s.Place.Dir)))
				want(t, err, layout.ErrIncompatible)
				_, err = JoinBare(&s.Place, 64, false)
				want(t, err, layout.ErrIncompatible)
				is("others wanted the name")
			}
			_, err = Join(AttachOnly, s)
			want(t, err, fs.ErrNotExist)
			m, err := Join(CreateOnly, s)
			must(t, err)
			defer m.Free()
			word := m.Words.Mutex().Load()
			if !m.Created || word != 0 != c.dirty || word&^layout.InconsistentBit != 0 {
				t.Errorf("created is %v, the word is %#x", m.Created, word)
			}
			must(t, m.Leave(false))
			exists(t, s, c.dirty)
			if c.dirty {
				again, err := Join(OpenOrCreate, s)
				must(t, err)
				defer again.Free()
				if again.Words.Mutex().Load() != layout.InconsistentBit {
					t.Error("the owner's death was forgotten")
				}
				again.Words.Mutex().Store(0)
				must(t, again.Leave(false))
				exists(t, s, false)
			}
		})
	}
}
