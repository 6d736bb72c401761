//go:build linux && !sharedseg_portable

package segment_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
)

// bareSize is the size of the mapping that the peers in testdata expect.
const bareSize = 4096

// foreignTexts contain characters of one to four bytes in UTF-8, and of one and
// two units in UTF-16.
var foreignTexts = []string{
	"parent's text",
	"",
	"Übergrößenträger, ¿qué?, 共有メモリ, \U0001F600\U00010348, \uFFFD \uE000 \U0010FFFF",
	"x" + strings.Repeat("\U0001D11E", 1023), // as many units as fit
}

func TestForeignBare(t *testing.T) {
	t.Parallel() // it mostly waits for another program
	for _, p := range []struct {
		name string
		peer func(*testing.T) foreignPeer
	}{
		{"c", func(t *testing.T) foreignPeer { return cProgram(t, "peer.c") }},
		{"python", func(t *testing.T) foreignPeer { return pythonScript(t, "peer.py") }},
	} {
		t.Run(p.name, func(t *testing.T) {
			peer := p.peer(t)
			t.Run("go creates", func(t *testing.T) { foreignBareAttaches(t, peer) })
			t.Run("peer creates", func(t *testing.T) { foreignBareCreates(t, peer) })
			t.Run("bounds", func(t *testing.T) { foreignBareBounds(t, peer) })
		})
	}
}

func openForeignBare[T any](t *testing.T, name string, c codec.Codec[T], o *segment.Options) *segment.Bare[T] {
	t.Helper()
	b, err := segment.OpenBare(name, bareSize, c, o)
	must(t, err)
	proctest.CloseAtEnd(t, b)
	return b
}

func foreignBareLoad(t *testing.T, b *segment.Bare[string], want string) {
	t.Helper()
	if got, err := b.Load(); err != nil || got != want {
		t.Errorf("Load = %q, %v, want %q", got, err, want)
	}
}

func foreignBareStore[T any](t *testing.T, b *segment.Bare[T], v T) {
	t.Helper()
	must(t, b.Store(v))
}

func foreignBareAttaches(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	b := openForeignBare(t, name, codec.UTF16(), nil)
	if got := foreignRun(t, peer("get", name)); got != "\n" {
		t.Errorf("a new mapping contains %q", got)
	}
	for _, text := range foreignTexts {
		foreignBareStore(t, b, text)
		if got := foreignRun(t, peer("get", name)); got != text+"\n" {
			t.Errorf("the peer got %q, want %q", got, text+"\n")
		}
	}
	for _, text := range foreignTexts {
		foreignRun(t, peer("set", name, text))
		foreignBareLoad(t, b, text)
	}
	must(t, b.Close())
	if out, err := peer("get", name).Output(); err == nil {
		t.Errorf("the mapping still exists after its last handle was closed: %q", out)
	}
}

func foreignBareCreates(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	owner := proctest.StartCmd(t, peer("create", name, foreignTexts[2]))
	t.Cleanup(func() {
		if err := segment.RemoveBare(name, nil); err == nil {
			t.Error("the peer did not remove its mapping")
		}
	})
	owner.Expect("ready")
	b := openForeignBare(t, name, codec.UTF16(), nil)
	foreignBareLoad(t, b, foreignTexts[2])
	foreignRun(t, peer("set", name, foreignTexts[3]))
	foreignBareLoad(t, b, foreignTexts[3])
	foreignBareStore(t, b, "shorter \U0001F40D")
	must(t, b.Close())
	owner.Say("go on")
	owner.Expect("shorter \U0001F40D")
	owner.Wait()
}

// foreignBareBounds tests texts that do not fit, and memory without a
// terminator.
func foreignBareBounds(t *testing.T, peer foreignPeer) {
	name := proctest.Name(t)
	b := openForeignBare(t, name, codec.UTF16(), nil)
	foreignBareStore(t, b, "old")
	long := strings.Repeat("\U0001D11E", 1024)
	want(t, b.Store(long), sharedseg.ErrTooLarge)
	if err := peer("set", name, long).Run(); err == nil {
		t.Error("the peer stored a text that is too long")
	}
	foreignBareLoad(t, b, "old")

	raw := openForeignBare(t, name, codec.Bytes(), nil)
	foreignBareStore(t, raw, bytes.Repeat([]byte{0xAC, 0x20}, bareSize/2))
	full := strings.Repeat("€", bareSize/2)
	foreignBareLoad(t, b, full)
	if got := foreignRun(t, peer("get", name)); got != full+"\n" {
		t.Errorf("the peer read %q from memory without a terminator", got)
	}
}
