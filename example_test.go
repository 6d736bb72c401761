package sharedseg_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/sharedseg/sharedseg"
	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
	"github.com/sharedseg/sharedseg/segment"
	"github.com/sharedseg/sharedseg/sync"
)

// List describes everything in a directory, whichever package created it.
func ExampleList() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	jobs, err := queue.Open("jobs", codec.String(), &queue.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer jobs.Close()
	journal, err := ipcsync.OpenMutex("journal", &ipcsync.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer journal.Close()

	for info, err := range sharedseg.List(&sharedseg.Place{Dir: dir}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Kind, info.Name, info.Lock.State)
	}
	// Unordered output:
	// queue jobs free
	// mutex journal free
}

// Stat describes one name without opening it.
func ExampleStat() {
	s, err := segment.Open("com.example.prices", codec.JSON[map[string]int](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Store(map[string]int{"tea": 2}); err != nil {
		log.Fatal(err)
	}

	info, err := sharedseg.Stat("com.example.prices", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Kind, "of codec", info.Codec)
	fmt.Println("version", info.Version, "held open by", info.Writers)
	// Output:
	// segment of codec json
	// version 1 held open by 1
}

// A segment that persists outlives its last handle. Remove ends it.
func ExampleRemove() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	options := &segment.Options{Dir: dir, Persist: true}
	s, err := segment.Open("settings", codec.String(), options)
	if err != nil {
		log.Fatal(err)
	}
	if err := s.Close(); err != nil {
		log.Fatal(err)
	}

	fmt.Println(sharedseg.Remove("settings", options.Place()))
	_, err = segment.Attach("settings", codec.String(), options)
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// <nil>
	// true
}

// Every error names what was done, and with which name. errors.Is tests for its
// cause.
func ExampleError() {
	_, err := segment.Attach("com.example.missing", codec.String(), nil)
	if e, ok := errors.AsType[*sharedseg.Error](err); ok {
		fmt.Println(e.Op, e.Name)
	}
	fmt.Println(errors.Is(err, fs.ErrNotExist), errors.Is(err, sharedseg.ErrCorrupt))
	// Output:
	// attach com.example.missing
	// true false
}
