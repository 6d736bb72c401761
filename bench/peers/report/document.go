package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A part of the document is the text between two lines that are comments: <!--
// begin NAME --> and <!-- end NAME -->. All other text is written by hand.
type part struct {
	name  string
	write func(w io.Writer, r *results)
}

var parts = []part{
	{"machine", writeMachine},
	{"budgets", writeBudgets},
	{"medians", writeMedians},
}

// checkMarkers returns an error if the document lacks the markers of a part.
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

// replace replaces the text between the markers of a part with content.
func replace(text []byte, name string, content []byte) ([]byte, error) {
	from, to, err := between(text, name)
	if err != nil {
		return nil, err
	}
	// Without the empty lines, Markdown would treat a table as part of the
	// comment.
	return bytes.Join([][]byte{text[:from], content, text[to:]}, []byte("\n")), nil
}

// between returns the offsets of the line after the first marker and of the
// line with the second one.
func between(text []byte, name string) (from, to int, err error) {
	begin, end := fmt.Sprintf("<!-- begin %s -->\n", name), fmt.Sprintf("<!-- end %s -->", name)
	for _, marker := range []string{begin, end} {
		switch n := bytes.Count(text, []byte(marker)); {
		case n == 0:
			return 0, 0, fmt.Errorf("no line %s", bytes.TrimSpace([]byte(marker)))
		case n > 1:
			return 0, 0, fmt.Errorf("%d lines %s", n, bytes.TrimSpace([]byte(marker)))
		}
	}
	from, to = bytes.Index(text, []byte(begin))+len(begin), bytes.Index(text, []byte(end))
	if to < from {
		return 0, 0, fmt.Errorf("the line %s is above its begin", end)
	}
	return from, to, nil
}

// writeFile replaces the file atomically.
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
