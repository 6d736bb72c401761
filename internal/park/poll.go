//go:build !linux || sharedseg_portable

package park

import (
	"sync/atomic"
	"time"
)

const (
	firstPause = 20 * time.Microsecond
	lastPause  = time.Millisecond
)

// pollWord sleeps while the word is old, for at most limit. It loads the word
// at growing intervals.
func pollWord(word *atomic.Uint32, old uint32, limit time.Duration) {
	deadline := time.Now().Add(limit)
	for pause := firstPause; word.Load() == old; pause = min(2*pause, lastPause) {
		left := time.Until(deadline)
		if left <= 0 {
			return
		}
		time.Sleep(min(pause, left))
	}
}
