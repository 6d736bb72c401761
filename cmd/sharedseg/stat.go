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

// counted returns a number of handles or of what they hold, and their
// processes.
func counted[N int | int64](n N, pids []int) string {
	if len(pids) == 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d (processes: %s)", n, processes(pids))
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
	label := "lock"
	switch i.Kind {
	case sharedseg.KindSemaphore, sharedseg.KindCond, sharedseg.KindEvent:
		label = "inner lock"
	}
	rows = append(rows, kindRows(i)...)
	rows = append(rows,
		[]string{"writers", counted(i.Writers, i.Holders)},
		[]string{"readers", strconv.Itoa(i.Readers)},
		[]string{label, lock(i)},
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
		return [][]string{
			row("depth", i.Slots), row("messages", i.Messages), row("taken", counted(len(i.Takers), i.Takers)), row("of dead receivers", i.Orphans),
			row("sent so far", i.Version), row("shut", i.Shut),
		}
	case sharedseg.KindSemaphore:
		return [][]string{row("permits", i.Permits), row("used", counted(i.Used, i.Users)), row("waited for", i.Waited)}
	case sharedseg.KindRWMutex:
		return [][]string{row("lock readers", counted(i.LockReaders, i.Users))}
	case sharedseg.KindCond:
		return [][]string{row("waiting", counted(i.Waiting, i.Users))}
	case sharedseg.KindEvent:
		return [][]string{row("set", i.Set), row("waited for", i.Waited)}
	}
	return nil
}
