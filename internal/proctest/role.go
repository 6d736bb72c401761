package proctest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Stdin reads the lines that the test says to a role.
var Stdin = bufio.NewScanner(os.Stdin)

// Await blocks a role until the test says something, or ends.
func Await() string {
	Stdin.Scan()
	return Stdin.Text()
}

// Told returns a channel that is closed when the test says something to the
// role, or ends. The role must not call Await as well.
func Told() <-chan struct{} {
	told := make(chan struct{})
	go func() {
		defer close(told)
		Await()
	}()
	return told
}

// Repeat calls f again and again until the test says something to the role, or
// f fails. It writes "ready" before the first call, and the number of calls at
// the end. See Group.StopRepeating.
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

// Complaints collects what a role finds wrong.
type Complaints struct{ all []error }

// Check complains unless err matches target, as errors.Is tells, and its text
// contains each of texts. A nil target asks for a nil error. The complaint
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
