package ipcsync_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sharedseg/sharedseg/sync"
)

// journal is a file to which several processes append lines.
type journal struct{ path string }

func (j journal) append(s string) error {
	f, err := os.OpenFile(j.path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(s)
	return err
}

// repair removes an incomplete last line, left by a process that died.
func (j journal) repair() error {
	b, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	return os.Truncate(j.path, int64(bytes.LastIndexByte(b, '\n')+1))
}

// add appends a line, with the mutex held.
func (j journal) add(line string) error {
	m, err := ipcsync.OpenMutex("com.example.journal", &ipcsync.Options{Repair: j.repair, Dir: filepath.Dir(j.path)})
	if err != nil {
		return err
	}
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Lock(ctx); err != nil {
		return err
	}
	defer m.Unlock()
	return j.append(line + "\n")
}

// Every process that writes the journal opens the same mutex. If one dies
// halfway through a line, the next process to lock the mutex repairs the
// journal, even if no other process had the mutex open when it died.
func ExampleMutex() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journal{filepath.Join(dir, "journal")}
	if err := j.add("first line"); err != nil {
		log.Fatal(err)
	}

	// A process dies while it writes a line. Here, closing a handle without
	// Unlock has the same effect.
	dies, err := ipcsync.OpenMutex("com.example.journal", &ipcsync.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	if err := dies.Lock(context.Background()); err != nil {
		log.Fatal(err)
	}
	if err := j.append("a line that is never fin"); err != nil {
		log.Fatal(err)
	}
	if err := dies.Close(); err != nil {
		log.Fatal(err)
	}

	if err := j.add("second line"); err != nil {
		log.Fatal(err)
	}
	b, err := os.ReadFile(j.path)
	fmt.Printf("%s%v\n", b, err)
	// Output:
	// first line
	// second line
	// <nil>
}
