package main

import (
	"context"
	"errors"
	"time"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

// lockPatience is how long set waits for other writers.
const lockPatience = 5 * time.Second

func runSet(c *call) (err error) {
	name := c.args[0]
	info, err := c.segment("set", name)
	if err != nil {
		return err
	}
	s, err := segment.Attach(name, codec.Opaque(info.Codec), c.options(info))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, cancel := context.WithTimeout(c.ctx, lockPatience)
	defer cancel()
	var stored []byte
	err = s.UpdateContext(ctx, func(b *[]byte) error {
		next, err := encode(info.Codec, *b, c.args[1:])
		*b, stored = next, next
		return err
	})
	if e, ok := errors.AsType[*sharedseg.Error](err); ok && e.Op == "update" {
		err = &sharedseg.Error{Op: "set", Name: name, Err: e.Err}
	}
	if err != nil || !c.json {
		return err
	}
	return c.out.object(gotJSON{
		Name: name, Version: s.Version(), Codec: info.Codec, Type: info.Type, valueJSON: value{info.Codec, stored}.toJSON(),
	})
}
