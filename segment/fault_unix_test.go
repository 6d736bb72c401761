//go:build unix && !aix

package segment_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/segment"
	"golang.org/x/sys/unix"
)

// If a peer truncates the file under live handles, they lose the value but do
// not crash.
func TestTruncatedUnderLiveHandles(t *testing.T) {
	for _, o := range []segment.Options{{}, {LockReads: true}} {
		for _, keep := range []int64{0, 4096, 12288} {
			t.Run(fmt.Sprint("LockReads=", o.LockReads, "/", keep), func(t *testing.T) {
				o.Dir = proctest.TempDir(t)
				plain := open(t, "plain", codec.Fixed[[2048]uint64](), &o)
				text := open(t, "text", codec.String(), &o)
				bare, err := segment.OpenBare("bare", 8192, codec.Fixed[[1024]uint64](), &o)
				must(t, err)
				defer bare.Close()
				r, err := segment.OpenReader("text", codec.String(), &o)
				must(t, err)
				defer r.Close()
				// After two Stores the current slot is the third, which is
				// beyond the new end of the file.
				for range 2 {
					must(t, errors.Join(plain.Store([2048]uint64{1}), text.Store("text")))
				}
				watching := make(chan error)
				go func() {
					for _, err := range r.Watch(t.Context()) {
						if err != nil {
							watching <- err
							return
						}
					}
				}()
				// The race detector implements atomic operations in C, where a
				// fault ends the process. It is enough that no such operation
				// is under way at the fault, so the test waits until the
				// watcher is parked.
				proctest.Parked(t, ".(*handle[...]).wait(")
				for _, name := range []string{"plain", "text", "bare"} {
					must(t, os.Truncate(filepath.Join(o.Dir, name), keep))
				}
				for what, do := range map[string]func() error{
					"plain Load":   func() error { _, err := plain.Load(); return err },
					"plain Store":  func() error { return plain.Store([2048]uint64{}) },
					"plain Update": func() error { return plain.Update(func(*[2048]uint64) error { return nil }) },
					"text Load":    func() error { _, err := text.Load(); return err },
					"text Store":   func() error { return text.Store("more") },
					"Reader Load":  func() error { _, err := r.Load(); return err },
				} {
					if err := do(); !errors.Is(err, sharedseg.ErrCorrupt) || !strings.Contains(err.Error(), "truncated") {
						t.Errorf("%s: %v", what, err)
					}
				}
				if keep == 0 {
					_, err := bare.Load()
					want(t, err, sharedseg.ErrCorrupt)
					want(t, bare.Store([1024]uint64{}), sharedseg.ErrCorrupt)
					want(t, <-watching, sharedseg.ErrCorrupt)
					if v := r.Version(); v != 0 {
						t.Errorf("Version = %d", v)
					}
				} else {
					r.Close()
					<-watching
				}
				_, err = segment.Open("text", codec.String(), &o)
				want(t, err, sharedseg.ErrCorrupt)
				// A panic for another reason is passed on.
				func() {
					defer func() {
						if recover() == nil {
							t.Error("the panic of a nil dereference in an Update was lost")
						}
					}()
					fresh := open(t, "fresh", codec.String(), &o)
					fresh.Update(func(*string) error { var p *int; *p = 1; return nil })
				}()
			})
		}
	}
}

// A handle whose memory vanishes while it holds the lock releases the lock, if
// the word is still mapped.
func TestTruncatedWithLock(t *testing.T) {
	for _, o := range []segment.Options{{}, {LockReads: true}} {
		t.Run(fmt.Sprint("LockReads=", o.LockReads), func(t *testing.T) {
			o.Dir = proctest.TempDir(t)
			c := codec.Fixed[[2048]uint64]()
			a, b := open(t, "x", c, &o), open(t, "x", c, &o)
			must(t, a.Store([2048]uint64{1}))
			// The header and the wait page stay.
			must(t, os.Truncate(filepath.Join(o.Dir, "x"), 16384))
			ctx := during(t, 10*time.Second)
			for what, do := range map[string]func(s *segment.Segment[[2048]uint64]) error{
				"Load":  func(s *segment.Segment[[2048]uint64]) error { _, err := s.LoadContext(ctx); return err },
				"Store": func(s *segment.Segment[[2048]uint64]) error { return s.StoreContext(ctx, [2048]uint64{2}) },
				"Update": func(s *segment.Segment[[2048]uint64]) error {
					return s.UpdateContext(ctx, func(*[2048]uint64) error { return nil })
				},
			} {
				for _, s := range []*segment.Segment[[2048]uint64]{a, b} {
					if err := do(s); !errors.Is(err, sharedseg.ErrCorrupt) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
}

func TestPlanted(t *testing.T) {
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir}
	target := filepath.Join(dir, "target")
	must(t, os.WriteFile(target, []byte("precious"), 0o600))
	for _, plant := range []error{
		os.Symlink(target, filepath.Join(dir, "link")),
		os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, "dangling")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
	} {
		if plant != nil {
			t.Fatal(plant)
		}
	}
	for name, text := range map[string]string{
		"link": "symbolic link", "dangling": "symbolic link", "fifo": "not a regular file",
	} {
		for what, do := range map[string]func() error{
			"Open":       func() error { _, err := segment.Open(name, codec.String(), o); return err },
			"OpenReader": func() error { _, err := segment.OpenReader(name, codec.String(), o); return err },
			"OpenBare":   func() error { _, err := segment.OpenBare(name, 8, codec.Bytes(), o); return err },
			"Stat":       func() error { _, err := sharedseg.Stat(name, o.Place()); return err },
			"Remove":     func() error { return sharedseg.Remove(name, o.Place()) },
		} {
			if err := do(); !errors.Is(err, sharedseg.ErrIncompatible) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s of a %s: %v", what, name, err)
			}
		}
	}
	if b, err := os.ReadFile(target); string(b) != "precious" || err != nil {
		t.Errorf("the link's target holds %q, %v", b, err)
	}
}

// visitor DIR tries what another user may do with the segments in DIR, and
// writes the values that it watches.
func visitor(args []string) error {
	var c proctest.Complaints
	dir := args[0]
	private := &segment.Options{Dir: dir}
	shared := &segment.Options{Dir: dir, Mode: 0o666}
	readable := &segment.Options{Dir: dir, Mode: 0o644}

	_, err := segment.Open("private", codec.String(), private)
	c.Check("Open of private", err, fs.ErrPermission)
	_, err = segment.OpenReader("private", codec.String(), readable)
	c.Check("OpenReader of private", err, fs.ErrPermission)

	_, err = segment.Open("shared", codec.String(), private)
	c.Check("Open of shared without Mode", err, fs.ErrPermission, "Options.Mode")
	s, err := segment.Open("shared", codec.String(), shared)
	c.Check("Open of shared", err, nil)
	if err == nil {
		c.Check("Store", s.Store("from the visitor"), nil)
		c.Check("Close", s.Close(), nil)
	}

	_, err = segment.Attach("readable", codec.String(), readable)
	c.Check("Attach to readable", err, fs.ErrPermission)
	r, err := segment.OpenReader("readable", codec.String(), readable)
	c.Check("OpenReader of readable", err, nil)
	if err != nil {
		return c.Err()
	}
	for v, err := range r.Watch(context.Background()) {
		c.Check("Watch", err, nil)
		fmt.Println(v)
		if v != "first" || err != nil {
			break
		}
	}
	c.Check("Close of the Reader", r.Close(), nil)
	return c.Err()
}

func init() { roles["visitor"] = visitor }

func TestAnotherUser(t *testing.T) {
	dir, err := os.MkdirTemp("", proctest.NamePrefix())
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	cmd := proctest.Command("visitor", dir)
	proctest.AsNobody(t, cmd)
	open(t, "private", codec.String(), &segment.Options{Dir: dir})
	shared := open(t, "shared", codec.String(), &segment.Options{Dir: dir, Mode: 0o666})
	readable := open(t, "readable", codec.String(), &segment.Options{Dir: dir, Mode: 0o644})
	must(t, readable.Store("first"))
	p := proctest.StartCmd(t, cmd)
	p.Expect("first")
	must(t, readable.Store("second"))
	p.Expect("second")
	p.Wait()
	if v, err := shared.Load(); v != "from the visitor" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
}

func TestStoppedWriter(t *testing.T) {
	name := proctest.Name(t)
	s := open(t, name, codec.Fixed[block](), nil)
	p := proctest.Start(t, "block writer", name, "1")
	p.Line()
	go func() {
		for {
			if _, err := p.Output().Read(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	for range 100 {
		p.Signal(syscall.SIGSTOP)
		// Readers go on wherever the writer was stopped.
		for range 100 {
			b, err := s.Load()
			must(t, err)
			if _, err := b.check(); err != nil {
				t.Fatal(err)
			}
		}
		p.Signal(syscall.SIGCONT)
		time.Sleep(time.Millisecond)
	}
}

func TestGrownFile(t *testing.T) {
	dir := proctest.TempDir(t)
	o := &segment.Options{Dir: dir}
	s := open(t, "x", codec.String(), o)
	must(t, s.Store("x"))
	must(t, os.Truncate(filepath.Join(dir, "x"), 1<<20))
	if v, err := s.Load(); v != "x" || err != nil {
		t.Errorf("Load = %q, %v", v, err)
	}
	_, err := segment.Open("x", codec.String(), o)
	want(t, err, sharedseg.ErrCorrupt)
}

// takenLoan returns the bytes of the Loan of a handle that is unreachable by
// then. A peer has freed the lock, and another call has taken it and released
// it.
func takenLoan(t *testing.T, o *segment.Options) []byte {
	s, err := segment.Attach("x", codec.Bytes(), o)
	must(t, err)
	l := loan(t, s)
	unlock(t, o, "x")
	must(t, s.Store([]byte("value")))
	return l.Bytes()
}

// The addresses of a Loan are not released while its bytes may be in use, even
// if a peer has freed its lock.
func TestDroppedWithTakenLoan(t *testing.T) {
	o := &segment.Options{Dir: proctest.TempDir(t)}
	open(t, "x", codec.Bytes(), o)
	room := takenLoan(t, o)
	proctest.Eventually(t, "the dropped handle is closed", func() bool {
		runtime.GC()
		info, err := sharedseg.Stat("x", o.Place())
		must(t, err)
		return info.Writers <= 1
	})
	time.Sleep(10 * time.Millisecond) // the addresses would be released after that
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	room[0] = 1
}
