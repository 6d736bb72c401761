//go:build !linux

package proctest

import (
	"fmt"
	"runtime"
	"time"
)

// stock is what a process has of the things that a library can leak: here, the goroutines.
type stock struct{ goroutines int }

func takeStock() stock { return stock{runtime.NumGoroutine()} }

func (s stock) left() string {
	for range 50 {
		if runtime.NumGoroutine() <= s.goroutines {
			return ""
		}
		runtime.GC()
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Sprint(runtime.NumGoroutine()-s.goroutines, " goroutines")
}
