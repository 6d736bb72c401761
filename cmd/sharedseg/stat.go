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

// writers returns the number of handles that can write, and the processes that
// have the name open.
func writers(i *sharedseg.Info) string {
	text := strconv.Itoa(i.Writers)
	if i.Writers > 0 {
		text += fmt.Sprintf(" (processes: %s)", holders(i))
	}
	return text
}

// statRows returns all details of a name.
func statRows(i *sharedseg.Info) [][]string {
	n := func(n uint64) string { return strconv.FormatUint(n, 10) }
	live := "yes"
	switch {
	case !i.Live():
		live = "no: all its users died; the next Open re-initialises it, or sweep removes it"
		if i.Lock.State == sharedseg.LockOwnerDied && (i.Kind == sharedseg.KindMutex || i.Kind == sharedseg.KindRWMutex) {
			live = "no: all its users died; it stays until a new owner repairs what it guards, or until rm"
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
	rows = append(rows, kindRows(i)...)
	rows = append(rows,
		[]string{"writers", writers(i)},
		[]string{"readers", strconv.Itoa(i.Readers)},
		[]string{"lock", lock(i)},
		[]string{"waits", n(i.Counters.Waits)},
		[]string{"take-overs", n(i.Counters.TakeOvers)},
	)
	switch i.Kind {
	case sharedseg.KindSegment:
		rows = append(rows, []string{"disturbed reads", n(i.Counters.DisturbedReads)})
	case sharedseg.KindQueue:
		rows = append(rows, []string{"redeliveries", n(i.Counters.Redeliveries)})
	}
	return rows
}

// kindRows returns the details that only names of this kind have.
func kindRows(i *sharedseg.Info) [][]string {
	row := func(name string, v any) []string { return []string{name, fmt.Sprint(v)} }
	switch i.Kind {
	case sharedseg.KindSegment:
		rows := [][]string{row("slots", i.Slots), row("version", i.Version)}
		if i.LockReads {
			rows = append(rows, row("reads", "take the writers' lock"))
		}
		return rows
	case sharedseg.KindQueue:
		taken := strconv.Itoa(len(i.Takers))
		if len(i.Takers) > 0 {
			taken += fmt.Sprintf(" (processes: %s)", processes(i.Takers))
		}
		return [][]string{
			row("depth", i.Slots), row("messages", i.Messages), row("taken", taken), row("of dead receivers", i.Orphans),
			row("sent so far", i.Version), row("shut", i.Shut),
		}
	case sharedseg.KindSemaphore:
		return [][]string{row("permits", i.Permits), row("used", i.Used)}
	case sharedseg.KindRWMutex:
		return [][]string{row("lock readers", i.LockReaders)}
	case sharedseg.KindCond:
		return [][]string{row("waiting", i.Waiting)}
	case sharedseg.KindEvent:
		return [][]string{row("set", i.Set)}
	}
	return nil
}
