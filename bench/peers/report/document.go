package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A part of the document is what stands between two lines that are comments:
// <!-- begin NAME --> and <!-- end NAME -->. All else is written by hand.
type part struct {
	name  string
	write func(w io.Writer, r *results)
}

var parts = []part{
	{"machine", writeMachine},
	{"budgets", writeBudgets},
	{"medians", writeMedians},
}

// checkMarkers returns an error if one of the parts has no place in the
// document.
func checkMarkers(document string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, _, err := between(text, p.name); err != nil {
			return fmt.Errorf("%s: %w", document, err)
		}
	}
	return nil
}

func updateDocument(document string, r *results) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	for _, p := range parts {
		var b bytes.Buffer
		p.write(&b, r)
		if text, err = replace(text, p.name, b.Bytes()); err != nil {
			return fmt.Errorf("%s: %w", document, err)
		}
	}
	return writeFile(document, text)
}

// replace puts content between the markers of a part.
func replace(text []byte, name string, content []byte) ([]byte, error) {
	from, to, err := between(text, name)
	if err != nil {
		return nil, err
	}
	// Without the empty lines, Markdown would take a table for more of the
	// comment.
	return bytes.Join([][]byte{text[:from], content, text[to:]}, []byte("\n")), nil
}

// between returns where the line after the first marker begins, and the one
// with the second.
func between(text []byte, name string) (from, to int, err error) {
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->", name)
	for _, marker := range []string{begin, end} {
		switch n := bytes.Count(text, []byte(marker)); {
		case n == 0:
			return 0, 0, fmt.Errorf("there is no line %s", bytes.TrimSpace([]byte(marker)))
		case n > 1:
			return 0, 0, fmt.Errorf("there are %d lines %s", n, bytes.TrimSpace([]byte(marker)))
		}
	}
	from, to = bytes.Index(text, []byte(begin))+len(begin), bytes.Index(text, []byte(end))
	if to < from {
		return 0, 0, fmt.Errorf("the line %s is above that with begin", end)
	}
	return from, to, nil
}

// writeFile replaces the file as a whole.
func writeFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
