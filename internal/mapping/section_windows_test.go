package mapping

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"golang.org/x/sys/windows"
)

func init() {
	roles["sectioner"] = sectioner
	roles["registrar"] = registrar
}

const size = 1 << 16

// sectionOf enters the section of a place, and reserves memory if it has none.
func sectionOf(p *Place) (*Object, error) {
	o, err := Enter(p, true, false, proctest.Patience)
	if err != nil {
		return nil, err
	}
	defer o.UnlockRegistry()
	if !o.Created() {
		return o, nil
	}
	if err := o.Reset(p, layout.Mark(false), size); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func section(t *testing.T, p *Place) *Object {
	t.Helper()
	o, err := sectionOf(p)
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

// there fails the test unless the existence of a place's section is want.
func there(t *testing.T, p *Place, want bool) {
	t.Helper()
	h, err := openFileMapping(windows.FILE_MAP_READ, Path(p))
	if err == nil {
		windows.CloseHandle(h)
	}
	if (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the section: %v, want one: %v", err, want)
	}
}

// TestSectionLives checks that the section exists exactly as long as any
// process has it open.
func TestSectionLives(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	there(t, p, false)
	a := section(t, p)
	there(t, p, true)
	b := section(t, p)
	if !a.Created() || b.Created() || p.Lasting() {
		t.Errorf("created: %v, %v; lasting: %v", a.Created(), b.Created(), p.Lasting())
	}
	other := proctest.Start(t, "sectioner", p.Name)
	other.Expect("false")
	must(t, a.Close())
	must(t, b.Close())
	there(t, p, true)
	other.Kill()
	there(t, p, false)
	want(t, section(t, p).Unlink(), errors.ErrUnsupported)
}

// sectioner has the section args[0] open.
func sectioner(args []string) error {
	o, err := sectionOf(&Place{Name: args[0]})
	if err != nil {
		return err
	}
	fmt.Println(o.Created())
	proctest.Await()
	return nil
}

// TestOtherKind checks that an object of another kind under the name is
// refused.
func TestOtherKind(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	name, err := windows.UTF16PtrFromString(Path(p))
	must(t, err)
	h, err := windows.CreateEvent(nil, 0, 0, name)
	must(t, err)
	defer windows.CloseHandle(h)
	_, err = Open(p, true)
	want(t, err, layout.ErrIncompatible)
	_, err = sectionOf(p)
	want(t, err, layout.ErrIncompatible)
}

func TestSecurityDescriptor(t *testing.T) {
	_, err := sectionOf(&Place{Name: proctest.Name(t), SecurityDescriptor: "nonsense"})
	want(t, err, fs.ErrInvalid)
	user, err := kernel.User()
	must(t, err)
	for _, sddl := range []string{"", fmt.Sprintf("O:%[1]sD:P(A;;GA;;;%[1]s)(A;;GRGX;;;BU)", user)} {
		o := section(t, &Place{Name: proctest.Name(t), SecurityDescriptor: sddl})
		sd, err := windows.GetSecurityInfo(o.section, windows.SE_KERNEL_OBJECT,
			windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
		must(t, err)
		got, others := sd.String(), strings.Contains(sddl, "BU")
		if !strings.HasPrefix(got, "O:"+user.String()+"D:P(") || strings.Contains(got, ";;;BU)") != others ||
			!others && strings.Count(got, "(") != 1 {
			t.Errorf("%q became %q", sddl, got)
		}
	}
}

// TestGlobal checks that global and local names are different.
func TestGlobal(t *testing.T) {
	p := &Place{Name: proctest.Name(t), Global: true}
	o := section(t, p)
	there(t, p, true)
	there(t, &Place{Name: p.Name}, false)
	if names, err := Names(p); err != nil || !slices.Contains(names, p.Name) {
		t.Errorf("Names = %q, %v", names, err)
	}
	if names, err := Names(&Place{}); err != nil || slices.Contains(names, p.Name) {
		t.Errorf("Names of the session = %q, %v", names, err)
	}
	must(t, o.Close())
}

// TestForeignNames checks that arbitrary names of other programs' sections do
// not disturb Names.
func TestForeignNames(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	section(t, p)
	for i := range 50 {
		name, err := windows.UTF16PtrFromString(Path(p) + strings.Repeat("\ubeef", i) + "!x")
		must(t, err)
		h, err := windows.CreateFileMapping(windows.InvalidHandle, nil, windows.PAGE_READWRITE, 0, 100, name)
		if h == 0 {
			t.Fatal(err)
		}
		defer windows.CloseHandle(h)
	}
	done := make(chan bool)
	go func() {
		for range 20 {
			runtime.GC()
		}
		close(done)
	}()
	for {
		if names, err := Names(&Place{}); err != nil || !slices.Contains(names, p.Name) {
			t.Fatalf("Names = %q, %v", names, err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// TestNoSpace checks that an impossible size is reported as ErrNoSpace when the
// section is created.
func TestNoSpace(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	o, err := Enter(p, true, false, proctest.Patience)
	must(t, err)
	want(t, o.Reset(p, layout.Mark(false), math.MaxInt64>>12), ErrNoSpace)
	o.UnlockRegistry()
	must(t, o.Close())
}

// TestResetInPlace checks that a left-over section of the right size is reused,
// even if another program has it open.
func TestResetInPlace(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	stranger := section(t, p)
	old, err := stranger.Map(size, true)
	must(t, err)
	defer old.Unmap()
	old.Mem[size-1] = 1
	o, err := Enter(p, true, false, proctest.Patience)
	must(t, err)
	defer o.Close()
	defer o.UnlockRegistry()
	must(t, o.Reset(p, layout.Mark(false), size))
	got := make([]byte, size)
	if n, err := o.ReadAt(got, 0); n != size || err != nil || !slices.Equal(got, append(layout.Mark(false), make([]byte, size-len(layout.Mark(false)))...)) {
		t.Errorf("%d bytes, %v; not the mark and zeros", n, err)
	}
}

// TestResetWaits checks that Reset waits for a process that is ending and still
// has a section of another size open.
func TestResetWaits(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	corpse := section(t, p)
	o, err := Enter(p, true, false, proctest.Patience)
	must(t, err)
	defer o.Close()
	defer o.UnlockRegistry()
	time.AfterFunc(20*time.Millisecond, func() { corpse.Close() })
	must(t, o.Reset(p, layout.Mark(false), 2*size))
	if info, err := o.Info(); info.Size != 2*size || err != nil {
		t.Errorf("Info = %+v, %v", info, err)
	}
}

// TestAbandonedRegistry checks that a registry is free after its holder died,
// and that Enter waits for the end of the section that the holder was about to
// initialise.
func TestAbandonedRegistry(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	for _, made := range []string{"nothing", "unmarked", "marked", "file"} {
		if made == "file" {
			p.Dir = proctest.TempDir(t)
		}
		dies := proctest.Start(t, "registrar", p.Name, made, p.Dir)
		dies.Expect("locked")
		_, err := Enter(p, true, false, 50*time.Millisecond)
		want(t, err, os.ErrDeadlineExceeded)
		time.AfterFunc(20*time.Millisecond, dies.Slay)
		o, err := Enter(p, true, false, proctest.Patience)
		must(t, err)
		must(t, o.Reset(p, layout.Mark(false), 2*size))
		if info, err := o.Info(); info.Size != 2*size || err != nil {
			t.Errorf("%s: Info = %+v, %v", made, info, err)
		}
		o.UnlockRegistry()
		dies.Kill()
		must(t, o.Close())
	}
}

// registrar dies while it holds the registry of the place, after it has made
// part of its section.
func registrar(args []string) error {
	p := &Place{Name: args[0], Dir: args[2]}
	o, err := Enter(p, true, false, proctest.Patience)
	if err != nil {
		return err
	}
	switch args[1] {
	case "unmarked":
		err = o.Reserve(0, size)
	case "marked":
		err = o.Reset(p, layout.Mark(false), size)
	}
	if err != nil {
		return err
	}
	fmt.Println("locked")
	proctest.Await()
	return nil
}

// TestFileSection checks that a section of a file exists as long as the file,
// and that the file cannot be removed or truncated while it is open.
func TestFileSection(t *testing.T) {
	p := &Place{Name: "o", Dir: proctest.TempDir(t)}
	a := section(t, p)
	if !a.Created() || !p.Lasting() {
		t.Errorf("created: %v, lasting: %v", a.Created(), p.Lasting())
	}
	view, err := a.Map(size, true)
	must(t, err)
	view.Mem[100] = 42
	b := section(t, &Place{Name: "O", Dir: p.Dir + `\.`})
	got := make([]byte, 1)
	if n, err := b.ReadAt(got, 100); n != 1 || got[0] != 42 || err != nil {
		t.Errorf("the same file by another path holds %v, %v", got, err)
	}
	if err := os.Remove(Path(p)); err == nil {
		t.Error("the file was removed while it was open")
	}
	if err := os.Truncate(Path(p), 10); err == nil {
		t.Error("the file was truncated while it was mapped")
	}
	if names, err := Names(p); err != nil || !slices.Equal(names, []string{"o"}) {
		t.Errorf("Names = %q, %v", names, err)
	}
	must(t, view.Unmap())
	want(t, b.Unlink(), errors.ErrUnsupported) // a has it open
	must(t, b.Close())
	must(t, a.Close())

	c := section(t, p)
	if n, err := c.ReadAt(got, 100); c.Created() || n != 1 || got[0] != 42 || err != nil {
		t.Errorf("after all closed it: created %v, %v, %v", c.Created(), got, err)
	}
	must(t, c.Unlink())
	if names, err := Names(p); err != nil || len(names) != 0 {
		t.Errorf("Names = %q, %v", names, err)
	}
	_, err = Enter(&Place{Name: "o", Dir: p.Dir + `\none`}, true, false, proctest.Patience)
	want(t, err, fs.ErrNotExist)
	for _, name := range []string{"o.", "o..", "NUL", "con", "COM1", "nul.txt"} {
		_, err = Enter(&Place{Name: name, Dir: p.Dir}, true, false, proctest.Patience)
		want(t, err, fs.ErrInvalid)
	}
	must(t, os.WriteFile(p.Dir+`\twice`, nil, 0o600))
	if err := os.Link(p.Dir+`\twice`, p.Dir+`\again`); err == nil {
		_, err = Enter(&Place{Name: "twice", Dir: p.Dir}, true, false, proctest.Patience)
		want(t, err, layout.ErrIncompatible)
	}
	must(t, os.Mkdir(p.Dir+`\dir`, 0o700))
	_, err = Enter(&Place{Name: "dir", Dir: p.Dir}, true, false, proctest.Patience)
	want(t, err, layout.ErrIncompatible)
}

// TestFileFamily checks that all paths to a file lead to the same registry and
// slots, and that those of other files are different.
func TestFileFamily(t *testing.T) {
	dir := proctest.TempDir(t)
	a, b, other := section(t, &Place{Name: "o", Dir: dir}), section(t, &Place{Name: "O", Dir: dir}), section(t, &Place{Name: "p", Dir: dir})
	defer func() {
		for _, o := range []*Object{a, b} {
			o.Close()
		}
		other.Unlink()
	}()
	hold := func(o *Object) func() (bool, error) { return func() (bool, error) { return o.Hold(3) } }
	is(t, "Hold", hold(a), true)
	is(t, "Hold by another", hold(b), false)
	is(t, "Hold in another file", hold(other), true)
	is(t, "Held by another", func() (bool, error) { return b.Held(3) }, true)
	is(t, "Held by itself", func() (bool, error) { return a.Held(3) }, false)
	is(t, "AnyHeld", b.AnyHeld, true)
	a.Drop(3)
	is(t, "AnyHeld after Drop", b.AnyHeld, false)
	is(t, "Hold after Drop", hold(b), true)
}

// TestViews checks that parts of a read-only view can be made writable if its
// object may write.
func TestViews(t *testing.T) {
	p := &Place{Name: proctest.Name(t)}
	w := section(t, p)
	page := PageSize()
	part, err := w.Map(2*page, false)
	must(t, err)
	must(t, part.Unprotect(page, page))
	part.Mem[page] = 1
	if !proctest.Faults(func() { part.Mem[0] = 1 }) {
		t.Error("a page that was not asked for became writable")
	}
	r, err := Open(p, true)
	must(t, err)
	defer r.Close()
	view, err := r.Map(2*page, false)
	must(t, err)
	if view.Mem[page] != 1 {
		t.Error("the view is of other memory")
	}
	want(t, view.Unprotect(page, page), fs.ErrPermission)
	_, err = r.Map(page, true)
	want(t, err, fs.ErrPermission)
	must(t, part.Unmap())
	must(t, view.Unmap())
}
