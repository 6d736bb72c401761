//go:build linux && cgo && sharedseg_boost

package peers

import (
	"os"
	"testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/bench/peers/internal/boost"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func init() {
	streams["boost"] = harness.Stream{
		Make: func(b *testing.B, size int) (args []string, send, receive *os.File) {
			name := proctest.Name(b)
			q, err := boost.Create(name, messages, size)
			b.Cleanup(func() { boost.Remove(name) })
			harness.Keep(b, q, err)
			return []string{name}, nil, nil
		},
		Open: func(args []string, _ *os.File, _ int) (harness.End, error) { return boost.Open(args[0]) },
	}
	echoes["boost"] = harness.Echo{Dial: dialBoost, Serve: serveBoost}
}

func dialBoost(b *testing.B) harness.RoundTrip {
	size := len(harness.Message{})
	there, _, _ := streams["boost"].Make(b, size)
	back, _, _ := streams["boost"].Make(b, size)
	out, err := boost.Open(there[0])
	harness.Keep(b, out, err)
	in, err := boost.Open(back[0])
	harness.Keep(b, in, err)
	echo := proctest.Start(b, "echo", "boost", there[0], back[0])
	b.Cleanup(func() { echo.Kill() })
	return func(sent, got *harness.Message) error {
		if err := out.Send(sent[:]); err != nil {
			return err
		}
		return in.Receive(got[:])
	}
}

// serveBoost serves until it is killed.
func serveBoost(args []string) error {
	in, err := boost.Open(args[0])
	if err != nil {
		return err
	}
	out, err := boost.Open(args[1])
	if err != nil {
		return err
	}
	for m := new(harness.Message); ; {
		if err := in.Receive(m[:]); err != nil {
			return err
		}
		if err := out.Send(m[:]); err != nil {
			return err
		}
	}
}
