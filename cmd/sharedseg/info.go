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
	Hz        *float64     `json:"hz,omitempty"` // of top
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
	return j
}

func mode(i *sharedseg.Info) string { return fmt.Sprintf("%04o", uint32(i.Mode)) }

// state is what matters most of a name: what it holds, in a few words, and what is
// wrong.
func state(i *sharedseg.Info) string {
	var parts []string
	if !i.Live() {
		parts = append(parts, "dead")
	}
	if i.Kind == sharedseg.KindSegment {
		parts = append(parts, "version "+strconv.FormatUint(i.Version, 10))
		if i.Lock.State != sharedseg.LockFree {
			parts = append(parts, "writers' lock "+lock(i))
		}
	} else {
		parts = append(parts, lock(i))
	}
	return strings.Join(parts, ", ")
}

// lock is the state of a lock, in a few words.
func lock(i *sharedseg.Info) string {
	text := string(i.Lock.State)
	if i.Lock.PID != 0 {
		text += fmt.Sprintf(" (process %d)", i.Lock.PID)
		if i.Lock.State == sharedseg.LockHeld {
			text = fmt.Sprintf("held by process %d", i.Lock.PID)
		}
	}
	if i.Lock.Waiters {
		text += ", waited for"
	}
	return text
}

var userNames sync.Map // by ID

// owner is the name of the user that owns a name, or the ID if it has none.
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

// holders lists the processes that have a name open, each once.
func holders(i *sharedseg.Info) string {
	if len(i.Holders) == 0 {
		return "-"
	}
	var b strings.Builder
	seen := map[int]bool{}
	for _, pid := range i.Holders {
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

// typeName is the type of a name's values, at most so long that it fits a table.
func typeName(i *sharedseg.Info) string {
	const most = 200
	text := safe(i.Type)
	if text == "" {
		return "-"
	}
	return cut(text, most)
}
