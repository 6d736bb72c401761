package ipcsync_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/sync"
)

// A pair is what the mutex guards in these tests: a file with two numbers,
// which are equal whenever the mutex is free.
type pair struct{ f *os.File }

func openPair(path string) (pair, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return pair{f}, err
}

func (p pair) load() (a, b uint64, err error) {
	var buf [16]byte
	if _, err := p.f.ReadAt(buf[:], 0); err != nil && err != io.EOF {
		return 0, 0, err
	}
	return binary.NativeEndian.Uint64(buf[:]), binary.NativeEndian.Uint64(buf[8:]), nil
}

// increment adds 1 to the numbers, one after the other.
func (p pair) increment() error {
	a, b, err := p.load()
	if err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("the pair is %d and %d", a, b)
	}
	for _, off := range []int64{0, 8} {
		if _, err := p.f.WriteAt(binary.NativeEndian.AppendUint64(nil, a+1), off); err != nil {
			return err
		}
	}
	return nil
}

// repair sets the second number to the first.
func (p pair) repair() error {
	a, _, err := p.load()
	if err != nil {
		return err
	}
	_, err = p.f.WriteAt(binary.NativeEndian.AppendUint64(nil, a), 8)
	return err
}

// counter NAME FILE COUNT increments the pair in FILE under the mutex NAME,
// COUNT times.
func counter(args []string) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	p, err := openPair(args[1])
	if err != nil {
		return err
	}
	m, err := ipcsync.OpenMutex(args[0], nil)
	if err != nil {
		return err
	}
	defer m.Close()
	fmt.Println("ready")
	proctest.Await()
	for range n {
		if err := m.Lock(context.Background()); err != nil {
			return err
		}
		if err := p.increment(); err != nil {
			return err
		}
		if err := m.Unlock(); err != nil {
			return err
		}
	}
	return nil
}

func TestProcessesExclude(t *testing.T) {
	const procs, rounds = 4, 5000
	name, path := proctest.Name(t), filepath.Join(proctest.TempDir(t), "pair")
	open(t, name, nil)
	ps := proctest.StartGroup(t, procs, "counter", name, path, strconv.Itoa(rounds))
	ps.Expect("ready")
	ps.Say("go")
	ps.Wait()
	checkPair(t, path, procs*rounds)
}

// checkPair fails the test unless both numbers of the pair in a file are want.
func checkPair(t *testing.T, path string, want uint64) {
	t.Helper()
	p, err := openPair(path)
	must(t, err)
	defer p.f.Close()
	if a, b, err := p.load(); a != want || b != want || err != nil {
		t.Errorf("the pair is %d and %d, %v, want %d twice", a, b, err, want)
	}
}

// owner locks the mutex NAME and holds it until the test says something.
func owner(args []string) error {
	m, err := ipcsync.OpenMutex(args[0], nil)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Lock(context.Background()); err != nil {
		return err
	}
	fmt.Println("locked")
	proctest.Await()
	return m.Unlock()
}

// kills is the number of kills in a test.
func kills() int {
	if testing.Short() {
		return 5
	}
	return 50
}

// After an owner was killed, the next Lock returns ErrOwnerDied or runs Repair,
// whether it waited before the death or not.
func TestKilledOwner(t *testing.T) {
	name := proctest.Name(t)
	repairs := 0
	plain := open(t, name, nil)
	mends := open(t, name, &ipcsync.Options{Repair: func() error { repairs++; return nil }})
	for i := range kills() {
		p := proctest.Start(t, "owner", name)
		p.Expect("locked")
		got := make(chan error, 1)
		if i%2 == 0 {
			go func() { got <- plain.Lock(patient(t)) }()
			time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
			p.Kill()
		} else {
			p.Kill()
			got <- plain.Lock(patient(t))
		}
		want(t, proctest.Receive(t, got), sharedseg.ErrOwnerDied)
		must(t, mends.Lock(patient(t)))
		if repairs != i+1 {
			t.Fatalf("after death %d, Repair ran %d times", i+1, repairs)
		}
		must(t, mends.Unlock())
		must(t, plain.Lock(patient(t)))
		must(t, plain.Unlock())
	}
}

// churner increments the pair in FILE under the mutex NAME until it is killed.
func churner(args []string) error {
	p, err := openPair(args[1])
	if err != nil {
		return err
	}
	m, err := ipcsync.OpenMutex(args[0], &ipcsync.Options{Repair: p.repair})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if err := m.Lock(context.Background()); err != nil {
			return err
		}
		if err := p.increment(); err != nil {
			return err
		}
		if err := m.Unlock(); err != nil {
			return err
		}
	}
}

// Wherever a process is killed, the others continue, and the next to lock the
// mutex finds the numbers equal.
func TestKilledAnywhere(t *testing.T) {
	name, path := proctest.Name(t), filepath.Join(proctest.TempDir(t), "pair")
	p, err := openPair(path)
	must(t, err)
	defer p.f.Close()
	m := open(t, name, &ipcsync.Options{Repair: p.repair})
	lives := proctest.Start(t, "churner", name, path)
	lives.Expect("ready")
	for range kills() {
		dies := proctest.Start(t, "churner", name, path)
		dies.Expect("ready")
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		dies.Kill()
		must(t, m.Lock(patient(t)))
		must(t, p.increment())
		must(t, m.Unlock())
	}
	lives.Kill()
	must(t, m.Lock(patient(t))) // otherwise the mutex stays
	must(t, m.Unlock())
}

// waiter locks the mutex NAME and exits.
func waiter(args []string) error {
	m, err := ipcsync.OpenMutex(args[0], nil)
	if err != nil {
		return err
	}
	fmt.Println("waiting")
	return m.Lock(context.Background())
}

// The death of a waiter does not affect the others.
func TestKilledWaiter(t *testing.T) {
	name := proctest.Name(t)
	a, b := open(t, name, nil), open(t, name, nil)
	for range 5 {
		must(t, a.Lock(t.Context()))
		ps := proctest.StartGroup(t, 2, "waiter", name)
		ps.Expect("waiting")
		got := make(chan error)
		go func() { got <- b.Lock(patient(t)) }()
		time.Sleep(10 * time.Millisecond)
		ps.Kill()
		must(t, a.Unlock())
		must(t, proctest.Receive(t, got))
		must(t, b.Unlock())
	}
}
