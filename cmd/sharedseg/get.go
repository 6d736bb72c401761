package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/segment"
)

func getFlags(c *call, f *flag.FlagSet) {
	f.BoolVar(&c.raw, "raw", false, "write the bytes of the value unchanged")
}

// gotJSON is a value as get, set and watch write it with -json.
type gotJSON struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
	Codec   string `json:"codec"`
	Type    string `json:"type"`
	valueJSON
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
}

func runGet(c *call) error {
	name, fields := c.args[0], c.args[1:]
	info, r, err := c.reader(name)
	if err != nil {
		return err
	}
	defer r.Close()
	var b []byte
	version, err := r.LoadInto(&b)
	if err != nil {
		return err
	}
	v := value{info.Codec, b}
	got := gotJSON{Name: name, Version: version, Codec: info.Codec, Type: info.Type}
	switch {
	case c.raw && (c.json || len(fields) > 0):
		return usageError("get: -raw writes the whole value and cannot be combined with fields or -json")
	case c.raw:
		_, err := c.out.w.Write(b)
		return err
	case version == 0 && c.json:
		return c.out.object(got)
	case version == 0:
		return &sharedseg.Error{Op: "get", Name: name, Err: errors.New("no value was stored yet")}
	case len(fields) == 0 && c.json:
		got.valueJSON = v.toJSON()
		return c.out.object(got)
	case len(fields) == 0:
		v.show(c.out)
		return nil
	}
	got.Fields = map[string]json.RawMessage{}
	for _, path := range fields {
		p, err := v.field(path)
		if err != nil {
			return &sharedseg.Error{Op: "get", Name: name, Err: err}
		}
		if c.json {
			got.Fields[path] = p.toJSON()
			continue
		}
		c.out.line(p.inline(c.out))
	}
	if c.json {
		return c.out.object(got)
	}
	return nil
}

// reader opens a segment of any type for reading.
func (c *call) reader(name string) (*sharedseg.Info, *segment.Reader[[]byte], error) {
	info, err := c.segment("get", name)
	if err != nil {
		return nil, nil, err
	}
	r, err := segment.OpenReader(name, codec.Opaque(info.Codec), c.options(info))
	return info, r, err
}

// segment returns the Info of a name, and an error if it is not a segment.
func (c *call) segment(op, name string) (*sharedseg.Info, error) {
	info, err := sharedseg.Stat(name, c.place())
	if err == nil && info.Kind != sharedseg.KindSegment {
		err = &sharedseg.Error{Op: op, Name: name, Err: fmt.Errorf("%w: its kind is %s, which has no value; see sharedseg stat", sharedseg.ErrIncompatible, info.Kind)}
	}
	return &info, err
}
