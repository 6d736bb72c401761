package main

import (
	"fmt"
	"strconv"

	"github.com/sharedseg/sharedseg"
)

func runStat(c *call) error {
	first := true
	return each(c.args, func(name string) error {
		info, err := sharedseg.Stat(name, c.place())
		if err != nil {
			return err
		}
		if c.json {
			return c.out.object(toJSON(&info))
		}
		if !first {
			c.out.line("")
		}
		first = false
		c.out.table(statRows(&info))
		return nil
	})
}

// writers is the number of handles that may write, and whose they are.
func writers(i *sharedseg.Info) string {
	text := strconv.Itoa(i.Writers)
	if i.Writers > 0 {
		text += fmt.Sprintf(" (processes: %s)", holders(i))
	}
	return text
}

// statRows are all that is known of a name.
func statRows(i *sharedseg.Info) [][]string {
	n := func(n uint64) string { return strconv.FormatUint(n, 10) }
	live := "yes"
	switch {
	case !i.Live():
		live = "no: its users all died; the next to open it begins it anew, or sweep removes it"
		if i.Lock.State == sharedseg.LockOwnerDied && (i.Kind == sharedseg.KindMutex || i.Kind == sharedseg.KindRWMutex) {
			live = "no: its users all died; it stays until what it guards is repaired, or until rm"
		}
	case i.Persist:
		live = "yes, and it persists"
	}
	rows := [][]string{
		{"name", i.Name}, {"kind", string(i.Kind)}, {"path", i.Path}, {"live", live},
	}
	if i.Mode != 0 {
		rows = append(rows, []string{"mode", mode(i) + ", of " + owner(i)})
	}
	rows = append(rows, []string{"size", n(uint64(i.Size)) + " bytes"})
	if i.Kind == sharedseg.KindSegment || i.Kind == sharedseg.KindQueue {
		rows = append(rows, []string{"type", i.Type}, []string{"codec", i.Codec}, []string{"capacity", n(uint64(i.Capacity)) + " bytes"})
	}
	if i.Kind == sharedseg.KindSegment {
		rows = append(rows, []string{"slots", strconv.Itoa(i.Slots)}, []string{"version", n(i.Version)})
		if i.LockReads {
			rows = append(rows, []string{"reads", "take the writers' lock"})
		}
	}
	rows = append(rows,
		[]string{"writers", writers(i)},
		[]string{"readers", strconv.Itoa(i.Readers)},
		[]string{"lock", lock(i)},
		[]string{"waits", n(i.Counters.Waits)},
		[]string{"take-overs", n(i.Counters.TakeOvers)},
	)
	if i.Kind == sharedseg.KindSegment {
		rows = append(rows, []string{"disturbed reads", n(i.Counters.DisturbedReads)})
	}
	return rows
}
