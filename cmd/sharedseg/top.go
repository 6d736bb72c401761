package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/sharedseg/sharedseg"
)

func topFlags(c *call, f *flag.FlagSet) {
	f.IntVar(&c.count, "n", 0, "write `COUNT` updates one after the other, also on a terminal, and end")
	f.DurationVar(&c.interval, "i", time.Second, "`INTERVAL` between updates")
	f.StringVar(&c.sort, "s", "hz", "sort by `KEY`: hz, name, size, open or waits; on a terminal, press h, n, s, o or w")
}

// topRow is a name that top shows.
type topRow struct {
	info  sharedseg.Info
	hz    float64 // 0 unless rated
	rated bool    // whether hz is known: the name has versions, and was seen before
}

// orders are the sort orders of top. Rows that compare equal are sorted by
// name.
var orders = map[string]func(a, b *topRow) int{
	"hz":   func(a, b *topRow) int { return cmp.Compare(b.hz, a.hz) },
	"name": func(a, b *topRow) int { return 0 },
	"size": func(a, b *topRow) int { return cmp.Compare(b.info.Size, a.info.Size) },
	"open": func(a, b *topRow) int {
		return cmp.Compare(b.info.Writers+b.info.Readers, a.info.Writers+a.info.Readers)
	},
	"waits": func(a, b *topRow) int { return cmp.Compare(b.info.Counters.Waits, a.info.Counters.Waits) },
}

// keys maps the keys on a terminal to the sort orders.
var keys = map[byte]string{'h': "hz", 'n': "name", 's': "size", 'o': "open", 'w': "waits"}

const ctrlC = 3

// seenAt is a version and the time when it was seen.
type seenAt struct {
	version uint64
	at      time.Time
}

func runTop(c *call) error {
	if orders[c.sort] == nil {
		return usageError(fmt.Sprintf("top: unknown sort key %q", c.sort))
	}
	if c.interval <= 0 {
		return usageError("top: the interval must be positive")
	}
	var pressed <-chan byte
	live := c.out.width > 0 && c.count <= 0 && !c.json
	if live {
		screen, err := openScreen(c.out, os.Stdin)
		if err != nil {
			return err
		}
		defer screen.close()
		pressed = screen.keys
	}
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	before := map[string]seenAt{}
	rows, err := look(c, before)
	// The first look has no rates. Only a screen shows it, as the next update
	// replaces it.
	for n := 0; ; n++ {
		if err != nil {
			return err
		}
		if live || n > 0 {
			if err := c.draw(rows, live, n); err != nil {
				return err
			}
		}
		if n > 0 && n == c.count {
			return nil
		}
		for waiting := true; waiting; {
			select {
			case <-ticker.C:
				waiting = false
			case key := <-pressed:
				if key == 'q' || key == 'Q' || key == ctrlC {
					return nil
				}
				if order, ok := keys[key]; ok {
					c.sort = order
					if err := c.draw(rows, live, n); err != nil {
						return err
					}
				}
			case <-c.ctx.Done():
				return nil
			}
		}
		rows, err = look(c, before)
	}
}

// look reads the state of all names. It skips names that have disappeared or
// cannot be read.
func look(c *call, before map[string]seenAt) ([]*topRow, error) {
	var rows []*topRow
	seen := map[string]bool{}
	for info, err := range sharedseg.List(c.place()) {
		if err != nil && info.Name == "" {
			return nil, err
		}
		if err != nil {
			continue
		}
		row := &topRow{info: info}
		now := time.Now()
		if last, ok := before[info.Name]; ok && counts(info.Kind) {
			row.hz, row.rated = rate(last.version, info.Version, now.Sub(last.at)), true
		}
		before[info.Name] = seenAt{info.Version, now}
		seen[info.Name] = true
		rows = append(rows, row)
	}
	for name := range before {
		if !seen[name] {
			delete(before, name)
		}
	}
	return rows, nil
}

// draw writes the nth update: on a screen over the previous one, otherwise
// after it.
func (c *call) draw(rows []*topRow, live bool, n int) error {
	slices.SortFunc(rows, func(a, b *topRow) int {
		return cmp.Or(orders[c.sort](a, b), cmp.Compare(a.info.Name, b.info.Name))
	})
	if c.json {
		var errs []error
		for _, row := range rows {
			j := toJSON(&row.info)
			if row.rated {
				j.Hz = &row.hz
			}
			errs = append(errs, c.out.object(j))
		}
		return errors.Join(append(errs, c.out.flush())...)
	}
	most := len(rows)
	if live {
		var height int
		c.out.width, height, _ = terminalSize(c.out.file)
		c.out.width = max(c.out.width, 1)
		most = min(most, max(height-3, 1))
		c.out.w.WriteString(homeAndClear)
	} else if n > 1 {
		c.out.line("")
	}
	memory := int64(0)
	for _, row := range rows {
		memory += row.info.Size
	}
	head := fmt.Sprintf("%s  %s, %s bytes", time.Now().Format("15:04:05"), plural(len(rows), "%d name"), size(memory))
	if live {
		head += fmt.Sprintf(", by %s   (q quits; sort by h: hz, n: name, s: size, o: open, w: waits)", c.sort)
	}
	c.out.line(head)
	table := [][]string{{"NAME", "KIND", "HZ", "SIZE", "WRITERS", "READERS", "WAITS", "TAKE-OVERS", "STATE"}}
	for _, row := range rows[:most] {
		i := &row.info
		hz := "-"
		if row.rated {
			hz = strconv.FormatFloat(row.hz, 'f', 1, 64)
		}
		table = append(table, []string{
			i.Name, string(i.Kind), hz, size(i.Size), strconv.Itoa(i.Writers), strconv.Itoa(i.Readers),
			strconv.FormatUint(i.Counters.Waits, 10), strconv.FormatUint(i.Counters.TakeOvers, 10), state(i),
		})
	}
	c.out.table(table)
	if most < len(rows) {
		c.out.linef("… and %d more", len(rows)-most)
	}
	return c.out.flush()
}
