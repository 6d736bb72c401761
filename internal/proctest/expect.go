package proctest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Want fails the test unless err matches target, as errors.Is tells, and its
// text contains each of texts. A nil target asks for a nil error.
func Want(t testing.TB, err, target error, texts ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want %v", err, target)
		return
	}
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error is %v, want it to contain %q", err, text)
		}
	}
}

// CloseAtEnd closes c when the test ends. An error of Close fails the test.
func CloseAtEnd(t testing.TB, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Patient returns a context for calls that must not block for ever. It is done
// after Patience, and when the test ends.
func Patient(t testing.TB) context.Context { return During(t, Patience) }

// During returns a context that is done after d, and when the test ends.
func During(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits until holds reports true. It ends the test if that takes
// longer than Patience, and then quotes what, the statement that did not come
// true.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !poll(holds) {
		t.Fatalf("not true after %v: %s", Patience, what)
	}
}

// Gone waits until gone reports that nothing is left of a killed process. It
// fails the test if that takes longer than Patience. On Linux the mappings of a
// killed process, with their locks, can outlive it for a moment if another
// process, such as ps(1), reads the state of its memory.
func Gone(t testing.TB, gone func() bool) {
	t.Helper()
	if !poll(gone) {
		t.Error("something is left of a killed process")
	}
}

// poll calls holds until it reports true, for at most Patience. It reports
// whether holds did.
func poll(holds func() bool) bool {
	start := time.Now()
	for pause := 50 * time.Microsecond; !holds(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Since(start) > Patience {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Receive returns the next value from c. It ends the test, with the stacks of
// all goroutines, if there is none within Patience.
func Receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("nothing was received for %v:\n%s", Patience, stacks())
		panic("unreachable")
	}
}

// Within ends the test, with the stacks of all goroutines, if f does not return
// within Patience. The failure names f by what.
func Within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(Patience):
		t.Fatalf("%s has not returned for %v:\n%s", what, Patience, stacks())
	}
}

// stacks returns the stacks of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
