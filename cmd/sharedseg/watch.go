package main

import (
	"errors"
	"flag"
	"math"
	"os"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/segment"
)

func watchFlags(c *call, f *flag.FlagSet) {
	f.IntVar(&c.count, "n", 0, "end after `COUNT` lines")
}

const (
	// watchEvery is how often watch reads the version. It polls, because
	// segment.Watch would make every writer wake it.
	watchEvery = 5 * time.Millisecond
	// recheckEvery is how often watch checks that a name still refers to the
	// same memory.
	recheckEvery = time.Second
)

// watched is a name that watch shows.
type watched struct {
	name   string
	info   *sharedseg.Info
	reader *segment.Reader[[]byte] // nil if it is not a segment, or is gone
	file   os.FileInfo             // nil where names are not files
	seen   uint64
	state  string // the state shown last, if it has no value
	buf    []byte
}

type changeJSON struct {
	Time string `json:"time"`
	gotJSON
}

type stateJSON struct {
	Time string `json:"time"`
	infoJSON
}

type goneJSON struct {
	Time string `json:"time"`
	Name string `json:"name"`
	Gone bool   `json:"gone"`
}

func runWatch(c *call) error {
	var all []*watched
	defer func() {
		for _, w := range all {
			w.close()
		}
	}()
	width := 0
	for _, name := range c.args {
		w := &watched{name: name}
		if err := w.open(c); err != nil {
			return err
		}
		all = append(all, w)
		width = max(width, len(name))
	}
	left := c.count
	if left <= 0 {
		left = math.MaxInt
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	looked := time.Now()
	for {
		again := time.Since(looked) >= recheckEvery
		if again {
			looked = time.Now()
		}
		for _, w := range all {
			shown, err := w.look(c, again, width)
			if err != nil {
				return err
			}
			if shown {
				if left--; left == 0 {
					return nil
				}
			}
		}
		if err := c.out.flush(); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return nil
		}
	}
}

// open attaches to a segment. Names of other kinds are watched from outside.
func (w *watched) open(c *call) error {
	info, err := sharedseg.Stat(w.name, c.place())
	if err != nil {
		return err
	}
	w.info, w.seen, w.state = &info, 0, ""
	if info.Kind != sharedseg.KindSegment {
		return nil
	}
	if w.info, w.reader, err = c.reader(w.name); err == nil {
		w.file, _ = os.Stat(info.Path)
	}
	return err
}

func (w *watched) close() {
	if w.reader != nil {
		w.reader.Close()
		w.reader = nil
	}
}

// look shows the name if it has changed, and reports whether it did. If again
// is set, it also checks that the name still refers to the same memory.
func (w *watched) look(c *call, again bool, width int) (shown bool, err error) {
	if again && w.reader != nil && w.moved() {
		w.close()
	}
	if w.reader == nil {
		if !again && w.state != "" {
			return false, nil
		}
		return w.lookOutside(c, width)
	}
	if w.reader.Version() == w.seen {
		return false, nil
	}
	version, err := w.reader.LoadInto(&w.buf)
	if err != nil || version == w.seen {
		return false, err
	}
	w.seen = version
	v := value{w.info.Codec, w.buf}
	now := time.Now()
	if c.json {
		return true, c.out.object(changeJSON{stamp(now), gotJSON{
			Name: w.name, Version: version, Codec: w.info.Codec, Type: w.info.Type, valueJSON: v.toJSON(),
		}})
	}
	c.out.linef("%s  %-*s  %d  %s", now.Format("15:04:05.000"), width, w.name, version, v.inline(c.out.limit()))
	return true, nil
}

// moved reports whether the name now refers to other memory, or was removed.
func (w *watched) moved() bool {
	if w.file == nil {
		return false
	}
	now, err := os.Stat(w.info.Path)
	return err != nil || !os.SameFile(now, w.file)
}

// lookOutside shows the state of a name that has no value to read, or is gone.
func (w *watched) lookOutside(c *call, width int) (shown bool, err error) {
	info, err := sharedseg.Stat(w.name, c.place())
	text := "gone"
	switch {
	case absent(err):
	case err != nil:
		return false, err
	case info.Kind == sharedseg.KindSegment: // it is back
		err := w.open(c)
		if absent(err) {
			err = nil
		}
		return false, err
	default:
		text = state(&info)
	}
	if text == w.state {
		return false, nil
	}
	w.state = text
	now := time.Now()
	switch {
	case c.json && err != nil:
		return true, c.out.object(goneJSON{stamp(now), w.name, true})
	case c.json:
		return true, c.out.object(stateJSON{stamp(now), toJSON(&info)})
	}
	c.out.linef("%s  %-*s  %s", now.Format("15:04:05.000"), width, w.name, text)
	return true, nil
}

func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

func hzFlags(c *call, f *flag.FlagSet) {
	f.IntVar(&c.count, "n", 0, "end after `COUNT` lines")
	f.DurationVar(&c.interval, "i", time.Second, "`INTERVAL` between lines")
}

type hzJSON struct {
	Time    string  `json:"time"`
	Name    string  `json:"name"`
	Hz      float64 `json:"hz"`
	Version uint64  `json:"version"`
}

// errNoRate is the error for a name without versions.
var errNoRate = errors.New("a name of this kind has no versions to count")

// runHz does not attach to the segment. It reads the version from outside.
func runHz(c *call) error {
	if c.interval <= 0 {
		return usageError("hz: the interval must be positive")
	}
	name := c.args[0]
	before, at, err := c.versionOf(name)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for n := 0; c.count <= 0 || n < c.count; n++ {
		select {
		case <-ticker.C:
		case <-c.ctx.Done():
			return nil
		}
		version, now, err := c.versionOf(name)
		if err != nil {
			return err
		}
		hz := rate(before, version, now.Sub(at))
		before, at = version, now
		if c.json {
			err = c.out.object(hzJSON{stamp(now), name, hz, version})
		} else {
			c.out.linef("%s  %10.1f Hz  version %d", now.Format("15:04:05"), hz, version)
		}
		if err = errors.Join(err, c.out.flush()); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) versionOf(name string) (version uint64, at time.Time, err error) {
	info, err := sharedseg.Stat(name, c.place())
	if err == nil && !counts(info.Kind) {
		err = &sharedseg.Error{Op: "hz", Name: name, Err: errNoRate}
	}
	return info.Version, time.Now(), err
}

// counts reports whether names of a kind have a version.
func counts(k sharedseg.Kind) bool { return k == sharedseg.KindSegment || k == sharedseg.KindQueue }

// rate returns the changes per second. If the version went back, the name was
// re-initialised in between.
func rate(before, after uint64, d time.Duration) float64 {
	if after < before {
		before = 0
	}
	return float64(after-before) / d.Seconds()
}
