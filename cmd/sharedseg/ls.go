package main

import (
	"errors"
	"flag"
	"strconv"

	"github.com/sharedseg/sharedseg"
)

func lsFlags(c *call, f *flag.FlagSet) {
	f.BoolVar(&c.long, "l", false, "also show the mode, owner, capacity, slots, and the processes that have the name open")
	f.BoolVar(&c.quiet, "q", false, "show names only")
}

func runLs(c *call) error {
	heads := []string{"NAME", "KIND", "SIZE", "WRITERS", "READERS", "STATE", "TYPE"}
	if c.long {
		heads = []string{"MODE", "OWNER", "SIZE", "CAPACITY", "SLOTS", "PERSIST", "WRITERS", "READERS", "PROCESSES", "KIND", "NAME", "STATE", "TYPE"}
	}
	rows := [][]string{heads}
	var errs []error
	for info, err := range sharedseg.List(c.place()) {
		switch {
		case err != nil:
			errs = append(errs, err)
		case c.json:
			errs = append(errs, c.out.object(toJSON(&info)))
		case c.quiet:
			c.out.line(info.Name)
		case c.long:
			rows = append(rows, longRow(&info))
		default:
			rows = append(rows, []string{info.Name, string(info.Kind), size(info.Size), strconv.Itoa(info.Writers), strconv.Itoa(info.Readers), state(&info), typeName(&info)})
		}
	}
	if len(rows) > 1 {
		c.out.table(rows)
	}
	return errors.Join(errs...)
}

func longRow(i *sharedseg.Info) []string {
	return []string{
		mode(i), owner(i), size(i.Size), size(i.Capacity), strconv.Itoa(i.Slots), strconv.FormatBool(i.Persist), strconv.Itoa(i.Writers), strconv.Itoa(i.Readers),
		holders(i), string(i.Kind), i.Name, state(i), typeName(i),
	}
}
