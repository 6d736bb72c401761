package main

import (
	"errors"
	"flag"

	"github.com/sharedseg/sharedseg"
)

type removedJSON struct {
	Name    string `json:"name"`
	Removed bool   `json:"removed"`
}

func runRm(c *call) error {
	return each(c.args, func(name string) error {
		err := sharedseg.Remove(name, c.place())
		if err == nil && c.json {
			err = c.out.object(removedJSON{name, true})
		}
		return err
	})
}

func sweepFlags(c *call, f *flag.FlagSet) {
	f.BoolVar(&c.dry, "n", false, "show what would be removed, and remove nothing")
}

func runSweep(c *call) error {
	sweep := sharedseg.Sweep
	if c.dry {
		sweep = sharedseg.Leftovers
	}
	names, err := sweep(c.place())
	for _, name := range names {
		if c.json {
			err = errors.Join(err, c.out.object(removedJSON{name, !c.dry}))
			continue
		}
		c.out.line(name)
	}
	return err
}
