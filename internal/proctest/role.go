package proctest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Stdin reads the lines that the test writes to a role.
var Stdin = bufio.NewScanner(os.Stdin)

// Await blocks a role until the test writes a line or closes its input, and
// returns the line.
func Await() string {
	Stdin.Scan()
	return Stdin.Text()
}

// Told returns a channel that is closed when the test writes a line to the role
// or closes its input. The role must not call Await as well.
func Told() <-chan struct{} {
	told := make(chan struct{})
	go func() {
		defer close(told)
		Await()
	}()
	return told
}

// Repeat calls f again and again until the test writes a line to the role or
// closes its input, or f fails. It writes "ready" before the first call, and
// the number of calls at the end. Group.StopRepeating is the test's side of it.
func Repeat(f func() error) error {
	told := Told()
	fmt.Println("ready")
	for n := 0; ; n++ {
		select {
		case <-told:
			fmt.Println(n)
			return nil
		default:
			if err := f(); err != nil {
				return fmt.Errorf("after %d calls: %w", n, err)
			}
		}
	}
}

// Complaints collects the failures of a role, which has no testing.TB.
type Complaints struct{ all []error }

// Check adds a complaint unless err matches target, as errors.Is tells, and its
// text contains each of texts. A nil target asks for a nil error. The complaint
// begins with what.
func (c *Complaints) Check(what string, err, target error, texts ...string) {
	if !errors.Is(err, target) {
		c.Add("%s: %v, want %v", what, err, target)
		return
	}
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			c.Add("%s: %v does not contain %q", what, err, text)
		}
	}
}

// Add adds a complaint.
func (c *Complaints) Add(format string, args ...any) {
	c.all = append(c.all, fmt.Errorf(format, args...))
}

// Err returns all complaints as one error, or nil if there are none.
func (c *Complaints) Err() error { return errors.Join(c.all...) }
