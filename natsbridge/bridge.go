package natsbridge

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/sharedseg/sharedseg"
)

const (
	// requestLimit is the time limit for a request to the server.
	requestLimit = 2 * time.Second

	// The pauses after failures. Each is twice as long as the one before.
	shortestPause = 20 * time.Millisecond
	longestPause  = 500 * time.Millisecond

	// watchPause is how often a bridge checks whether its name exists and still
	// refers to the same file.
	watchPause = 100 * time.Millisecond

	// checkPause is how often an idle bridge checks that the key holds what it
	// should.
	checkPause = 5 * time.Second
)

// A bridge is the common part of the four functions.
type bridge struct {
	op, name string // the operation; the name of the segment or queue
	conn     *nats.Conn
	place    *sharedseg.Place
	kind     sharedseg.Kind
	log      *slog.Logger

	trouble string // the failure that was logged last, "" after a success
	pause   time.Duration
}

func newBridge(op, name string, conn *nats.Conn, place *sharedseg.Place, kind sharedseg.Kind, log *slog.Logger, to ...any) bridge {
	if log == nil {
		log = slog.Default()
	}
	log = log.With("bridge", op, string(kind), name).With(to...)
	return bridge{op: op, name: name, conn: conn, place: place, kind: kind, log: log}
}

// errAgain ends a session. The next one begins at once.
var errAgain = errors.New("again")

// run runs one session after the other, until ctx is done or a session returns
// a permanent error.
func (b *bridge) run(ctx context.Context, session func(context.Context) error) error {
	for {
		err := session(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return b.wrap(context.Cause(ctx))
		case errors.Is(err, errAgain):
		case permanent(err):
			return b.wrap(err)
		default:
			b.fail(ctx, err)
		}
	}
}

// permanent reports whether it is useless to try again after err.
func permanent(err error) bool {
	for _, target := range []error{
		sharedseg.ErrIncompatible, errTooLarge, fs.ErrInvalid, fs.ErrPermission, errors.ErrUnsupported,
		nats.ErrConnectionClosed,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// fail logs err, unless it was logged last, and pauses.
func (b *bridge) fail(ctx context.Context, err error) {
	if text := err.Error(); text != b.trouble {
		b.log.Warn("failed; trying again", "error", err)
		b.trouble = text
	}
	b.pause = min(max(2*b.pause, shortestPause), longestPause)
	sleep(ctx, b.pause)
}

// well records a success.
func (b *bridge) well() {
	if b.trouble != "" {
		b.log.Info("succeeded again")
		b.trouble = ""
	}
	b.pause = 0
}

func (b *bridge) wrap(err error) error {
	if e, ok := errors.AsType[*sharedseg.Error](err); ok && e.Op == b.op {
		return err
	}
	return &sharedseg.Error{Op: b.op, Name: b.name, Err: err}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// attach calls open with the Info of the name when the name refers to a live
// segment or queue. It returns the Info and the file. If wait is set, it waits
// until there is one. shut closes what open opened.
func (b *bridge) attach(ctx context.Context, wait bool, open func(sharedseg.Info) error, shut func()) (info sharedseg.Info, file os.FileInfo, err error) {
	for logged := false; ; {
		info, err = sharedseg.Stat(b.name, b.place)
		if err == nil && info.Kind != b.kind {
			return info, nil, incompatible("the kind of the name is %s, not %s", info.Kind, b.kind)
		}
		if err == nil && info.Live() {
			file, _ = os.Stat(info.Path)
			if err = open(info); err == nil {
				if sameFile(file, info.Path) {
					return info, file, nil
				}
				shut() // it was re-created meanwhile
				continue
			}
		}
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return info, nil, err
		case !wait:
			return info, nil, fs.ErrNotExist
		case !logged:
			logged = true
			b.log.Info("waiting until it is created")
		}
		if sleep(ctx, watchPause); ctx.Err() != nil {
			return info, nil, ctx.Err()
		}
	}
}

// sameFile reports whether path still refers to file, or to nothing. Shared
// memory on Windows has no file, and its name cannot be taken by another while
// a handle is open.
func sameFile(file os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	return err != nil || file == nil || os.SameFile(file, now)
}

var (
	errRecreated   = errors.New("the name was removed and created again")
	errReconnected = errors.New("the connection was lost and restored")
)

// guard returns a context that is cancelled in these cases, with these causes:
//
//   - path refers to another file: errRecreated
//   - the connection was closed permanently: nats.ErrConnectionClosed
//   - reconnects is set and the connection was restored: errReconnected
//
// stop releases the resources of guard.
func (b *bridge) guard(ctx context.Context, file os.FileInfo, path string, reconnects bool) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	changes := b.conn.StatusChanged(nats.CONNECTED, nats.CLOSED)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(watchPause)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case status := <-changes:
				if status == nats.CONNECTED && reconnects {
					cancel(errReconnected)
				}
			case <-ticker.C:
				if !sameFile(file, path) {
					cancel(errRecreated)
				}
			}
			if b.conn.IsClosed() {
				cancel(nats.ErrConnectionClosed)
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-ended
		b.conn.RemoveStatusListener(changes)
	}
}

// resume returns the error with which a session ends, if it ran under a guard's
// context and failed with err.
func (b *bridge) resume(guarded context.Context, err error) error {
	switch cause := context.Cause(guarded); cause {
	case errRecreated, errReconnected:
		b.log.Info("starting again", "reason", cause)
		return errAgain
	case nats.ErrConnectionClosed:
		return cause
	}
	return err
}
