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

// journal is a file of whole lines that several processes append to.
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

// repair cuts off the line that a process which died has left half written.
func (j journal) repair() error {
	b, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	return os.Truncate(j.path, int64(bytes.LastIndexByte(b, '\n')+1))
}

// Every process that writes the journal opens the mutex by the same name, and appends as add does.
func ExampleMutex() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j := journal{filepath.Join(dir, "journal")}

	m, err := ipcsync.OpenMutex("com.example.journal", &ipcsync.Options{Repair: j.repair, Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	add := func(line string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Lock(ctx); err != nil {
			return err
		}
		defer m.Unlock()
		return j.append(line + "\n")
	}
	if err := add("first line"); err != nil {
		log.Fatal(err)
	}

	// Another process dies while it writes a line. A second handle that is closed without Unlock stands for it.
	other, err := ipcsync.OpenMutex("com.example.journal", &ipcsync.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	if err := other.Lock(context.Background()); err != nil {
		log.Fatal(err)
	}
	j.append("a line that is never fin")
	other.Close()

	if err := add("second line"); err != nil {
		log.Fatal(err)
	}
	b, err := os.ReadFile(j.path)
	fmt.Printf("%s%v\n", b, err)
	// Output:
	// first line
	// second line
	// <nil>
}
