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
	// requestLimit is how long a request to the server may take.
	requestLimit = 2 * time.Second

	// Pauses after a failure: each is twice as long as the one before.
	shortestPause = 20 * time.Millisecond
	longestPause  = 500 * time.Millisecond

	// watchPause is how often a bridge looks whether its name leads to
	// something else, or to something at all.
	watchPause = 100 * time.Millisecond

	// checkPause is how often a bridge that has nothing to do looks whether the
	// key holds what it should.
	checkPause = 5 * time.Second
)

// A bridge is what the four functions have in common.
type bridge struct {
	op, name string // of the segment or queue
	conn     *nats.Conn
	place    *sharedseg.Place
	kind     sharedseg.Kind
	log      *slog.Logger

	trouble string // what was logged last, "" if all is well
	pause   time.Duration
}

func newBridge(op, name string, conn *nats.Conn, place *sharedseg.Place, kind sharedseg.Kind, log *slog.Logger, to ...any) bridge {
	if log == nil {
		log = slog.Default()
	}
	log = log.With("bridge", op, string(kind), name).With(to...)
	return bridge{op: op, name: name, conn: conn, place: place, kind: kind, log: log}
}

// errAgain ends a session after which the next begins at once.
var errAgain = errors.New("again")

// run runs session after session, until ctx is done or one fails for good.
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

// permanent reports whether waiting is of no use.
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
		b.log.Warn("not through; trying again", "error", err)
		b.trouble = text
	}
	b.pause = min(max(2*b.pause, shortestPause), longestPause)
	sleep(ctx, b.pause)
}

// well notes that something went through.
func (b *bridge) well() {
	if b.trouble != "" {
		b.log.Info("through again")
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

// attach calls open with what Stat says of the name, when that leads to a live
// segment or queue, and returns it, and its file. It waits for one if wait is
// set.
func (b *bridge) attach(ctx context.Context, wait bool, open func(sharedseg.Info) error, shut func()) (info sharedseg.Info, file os.FileInfo, err error) {
	for said := false; ; {
		info, err = sharedseg.Stat(b.name, b.place)
		if err == nil && info.Kind != b.kind {
			return info, nil, incompatible("it is a %s, not a %s", info.Kind, b.kind)
		}
		if err == nil && info.Live() {
			file, _ = os.Stat(info.Path)
			if err = open(info); err == nil {
				if sameFile(file, info.Path) {
					return info, file, nil
				}
				shut() // it was created anew meanwhile
				continue
			}
		}
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return info, nil, err
		case !wait:
			return info, nil, fs.ErrNotExist
		case !said:
			said = true
			b.log.Info("waiting until somebody creates it")
		}
		if sleep(ctx, watchPause); ctx.Err() != nil {
			return info, nil, ctx.Err()
		}
	}
}

// sameFile reports whether path leads to file still, or to nothing. On Windows,
// in the page file, there is no file, and a name cannot be taken from a handle
// that is open.
func sameFile(file os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	return err != nil || file == nil || os.SameFile(file, now)
}

var (
	errRecreated   = errors.New("the name leads to another now")
	errReconnected = errors.New("the connection was lost meanwhile")
)

// guard returns a context that ends when path leads to another file, with
// errRecreated as its cause, when the connection was closed for good, with
// nats.ErrConnectionClosed, and if reconnects is set when it was made again,
// with errReconnected. stop frees what guard uses.
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

// resume returns what a session ends with that was under a guard's context and
// ended with err.
func (b *bridge) resume(guarded context.Context, err error) error {
	switch cause := context.Cause(guarded); cause {
	case errRecreated, errReconnected:
		b.log.Info("beginning anew", "reason", cause)
		return errAgain
	case nats.ErrConnectionClosed:
		return cause
	}
	return err
}
