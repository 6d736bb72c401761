package ipcsync

import (
	"time"

	"github.com/sharedseg/sharedseg/internal/notify"
)

// NoLimits makes the sleeps of this process last until they are ended, except
// those of the mutex. It must be called before the first wait.
func NoLimits() {
	notify.NoLimits()
	firstLook, lastLook, drainLimit = time.Hour, time.Hour, time.Hour
}
