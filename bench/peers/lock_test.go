package peers

import (
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/alexflint/go-filemutex"
	"github.com/gofrs/flock"
	"github.com/juju/mutex/v2"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
)

// locks are the locks of this platform.
var locks = harness.Locks{
	"gofrs-flock": func(name string) (harness.Lock, error) {
		path := filepath.Join(shmDir, name)
		return fileLock{flock.New(path), path}, nil
	},
	"go-filemutex": func(name string) (harness.Lock, error) {
		path := filepath.Join(shmDir, name)
		m, err := filemutex.New(path)
		return fileLock{m, path}, err
	},
	jujuMutex: openJuju,
}

func BenchmarkLock(b *testing.B) {
	useShmDir(b)
	for _, impl := range slices.Sorted(maps.Keys(locks)) {
		locks.Uncontended(b, impl)
	}
	for _, n := range []int{2, 4} {
		for _, impl := range slices.Sorted(maps.Keys(locks)) {
			locks.Contended(b, impl, n)
		}
	}
}

func BenchmarkTakeover(b *testing.B) {
	useShmDir(b)
	for _, impl := range slices.Sorted(maps.Keys(locks)) {
		locks.Takeover(b, impl)
	}
}

// useShmDir makes juju-mutex create its files in shmDir, like the other locks.
// It always uses the directory for temporary files.
func useShmDir(b *testing.B) { b.Setenv("TMPDIR", shmDir) }

type lock = harness.Lock

// fileLock is a lock with a file, which is removed when a handle is closed.
type fileLock struct {
	lock
	path string
}

func (l fileLock) Close() error {
	err := l.lock.Close()
	os.Remove(l.path)
	return err
}

const jujuMutex = "juju-mutex"

// juju is a mutex of github.com/juju/mutex, which has no handles.
type juju struct {
	spec mutex.Spec
	held mutex.Releaser
}

func openJuju(name string) (harness.Lock, error) {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	spec := mutex.Spec{
		Name:  fmt.Sprintf("sharedseg-test-%x", hash.Sum64()), // no dots, 40 characters at most
		Clock: clock{},
		Delay: time.Millisecond, // required, although Acquire uses it on no system
	}
	return fileLock{&juju{spec: spec}, filepath.Join(os.TempDir(), "juju-"+spec.Name)}, nil
}

func (j *juju) Lock() (err error) {
	j.held, err = mutex.Acquire(j.spec)
	return err
}

func (j *juju) Unlock() error {
	j.held.Release()
	return nil
}

func (j *juju) Close() error { return nil }

type clock struct{}

func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }
func (clock) Now() time.Time                         { return time.Now() }
