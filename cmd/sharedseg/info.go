package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"github.com/sharedseg/sharedseg"
)

// infoJSON is a sharedseg.Info as -json writes it.
type infoJSON struct {
	Name      string       `json:"name"`
	Kind      string       `json:"kind"`
	Path      string       `json:"path"`
	Live      bool         `json:"live"`
	Persist   bool         `json:"persist"`
	Mode      string       `json:"mode,omitempty"`
	Owner     string       `json:"owner,omitempty"`
	Size      int64        `json:"size"`
	Writers   int          `json:"writers"`
	Readers   int          `json:"readers"`
	Holders   []int        `json:"holders"`
	Lock      lockJSON     `json:"lock"`
	Counters  countersJSON `json:"counters"`
	Codec     string       `json:"codec,omitempty"`
	Type      string       `json:"type,omitempty"`
	Capacity  int64        `json:"capacity,omitempty"`
	Slots     int          `json:"slots,omitempty"`
	LockReads bool         `json:"lockReads,omitempty"`
	Version   uint64       `json:"version,omitempty"`

	Messages *int  `json:"messages,omitempty"` // this and the next three: of a queue
	Takers   []int `json:"takers,omitempty"`
	Orphans  int   `json:"orphans,omitempty"`
	Shut     bool  `json:"shut,omitempty"`

	Permits     int64  `json:"permits,omitempty"` // of a semaphore
	Used        *int64 `json:"used,omitempty"`
	LockReaders *int   `json:"lockReaders,omitempty"` // of an rwmutex
	Waiting     *int   `json:"waiting,omitempty"`     // of a cond
	Users       []int  `json:"users,omitempty"`       // of the previous three kinds
	Set         *bool  `json:"set,omitempty"`         // of an event
	Waited      *bool  `json:"waited,omitempty"`      // of a semaphore or an event

	Hz *float64 `json:"hz,omitempty"` // of top
}

type lockJSON struct {
	State   string `json:"state"`
	PID     int    `json:"pid,omitempty"`
	Waiters bool   `json:"waiters,omitempty"`
}

type countersJSON struct {
	Waits          uint64 `json:"waits"`
	TakeOvers      uint64 `json:"takeOvers"`
	DisturbedReads uint64 `json:"disturbedReads"`
	Redeliveries   uint64 `json:"redeliveries"`
}

func toJSON(i *sharedseg.Info) infoJSON {
	j := infoJSON{
		Name: i.Name, Kind: string(i.Kind), Path: i.Path, Live: i.Live(), Persist: i.Persist, Owner: i.Owner, Size: i.Size,
		Writers: i.Writers, Readers: i.Readers, Holders: i.Holders,
		Lock:     lockJSON{string(i.Lock.State), i.Lock.PID, i.Lock.Waiters},
		Counters: countersJSON(i.Counters),
		Codec:    i.Codec, Type: i.Type, Capacity: i.Capacity, Slots: i.Slots, LockReads: i.LockReads, Version: i.Version,
	}
	if i.Mode != 0 {
		j.Mode = mode(i)
	}
	if j.Holders == nil {
		j.Holders = []int{}
	}
	switch i.Kind {
	case sharedseg.KindQueue:
		j.Messages, j.Takers, j.Orphans, j.Shut = &i.Messages, i.Takers, i.Orphans, i.Shut
	case sharedseg.KindSemaphore:
		j.Permits, j.Used, j.Waited = i.Permits, &i.Used, &i.Waited
	case sharedseg.KindRWMutex:
		j.LockReaders = &i.LockReaders
	case sharedseg.KindCond:
		j.Waiting = &i.Waiting
	case sharedseg.KindEvent:
		j.Set, j.Waited = &i.Set, &i.Waited
	}
	j.Users = i.Users
	return j
}

func mode(i *sharedseg.Info) string {
	if i.Mode == 0 { // on Windows
		return "-"
	}
	return fmt.Sprintf("%04o", uint32(i.Mode))
}

// state returns the most important facts about a name in a few words: what it
// holds, and what is wrong.
func state(i *sharedseg.Info) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if !i.Live() {
		add("dead")
	}
	waited := func(yes bool) {
		if yes {
			add("waited for")
		}
	}
	inner := "" // the label of an inner lock, which is shown only if it is not free
	switch i.Kind {
	case sharedseg.KindSegment:
		add("version %d", i.Version)
		inner = "writers' lock "
	case sharedseg.KindQueue:
		add("%d of %d messages", i.Messages, i.Slots)
		if n := len(i.Takers); n > 0 {
			add("%d taken", n)
		}
		if i.Orphans > 0 {
			add("%d of dead receivers", i.Orphans)
		}
		if i.Shut {
			add("shut")
		}
		inner = "senders' lock "
	case sharedseg.KindSemaphore:
		add("%d of %d permits used", i.Used, i.Permits)
		waited(i.Waited)
		inner = "inner lock "
	case sharedseg.KindCond:
		add("%d waiting", i.Waiting)
		inner = "inner lock "
	case sharedseg.KindEvent:
		if i.Set {
			add("set")
		} else {
			add("not set")
		}
		waited(i.Waited)
		inner = "inner lock "
	}
	if inner == "" || i.Lock.State != sharedseg.LockFree {
		parts = append(parts, inner+lock(i))
	}
	return strings.Join(parts, ", ")
}

// lock returns the state of a lock in a few words.
func lock(i *sharedseg.Info) string {
	text := string(i.Lock.State)
	held := i.Lock.State == sharedseg.LockHeld
	switch {
	case held && i.LockReaders > 0: // the writer waits for the readers
		text = "next: a writer"
		if i.Lock.PID != 0 {
			text = fmt.Sprintf("next: process %d", i.Lock.PID)
		}
	case held && i.Lock.PID != 0:
		text = fmt.Sprintf("held by process %d", i.Lock.PID)
	case i.Lock.PID != 0:
		text += fmt.Sprintf(" (process %d)", i.Lock.PID)
	}
	switch n := i.LockReaders; {
	case n > 0 && i.Lock.State == sharedseg.LockFree:
		text = plural(n, "held by %d reader")
	case n > 0:
		text = plural(n, "held by %d reader") + ", " + text
	}
	if i.Lock.Waiters {
		text += ", waited for"
	}
	return text
}

// plural formats a number and the noun at the end of format.
func plural(n int, format string) string {
	if n != 1 {
		format += "s"
	}
	return fmt.Sprintf(format, n)
}

var userNames sync.Map // by ID

// owner returns the name of the user that owns a name, or the user's ID if it
// has no name.
func owner(i *sharedseg.Info) string {
	if i.Owner == "" {
		return "-"
	}
	if name, ok := userNames.Load(i.Owner); ok {
		return name.(string)
	}
	name := i.Owner
	if u, err := user.LookupId(i.Owner); err == nil {
		name = u.Username
	}
	userNames.Store(i.Owner, name)
	return name
}

// holders lists the processes that have a name open, each of them once.
func holders(i *sharedseg.Info) string { return processes(i.Holders) }

func processes(pids []int) string {
	if len(pids) == 0 {
		return "-"
	}
	var b strings.Builder
	seen := map[int]bool{}
	for _, pid := range pids {
		if seen[pid] {
			continue
		}
		if len(seen) == 20 {
			b.WriteString(" …")
			break
		}
		if len(seen) > 0 {
			b.WriteByte(' ')
		}
		seen[pid] = true
		b.WriteString(strconv.Itoa(pid))
	}
	return b.String()
}

// typeName returns the type of a name's values, cut to a length that fits a
// table.
func typeName(i *sharedseg.Info) string {
	const most = 200
	text := safe(i.Type)
	if text == "" {
		return "-"
	}
	return cut(text, most)
}
