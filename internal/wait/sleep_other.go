//go:build !linux

package wait

import "time"

func sleep(d time.Duration) { time.Sleep(d) }
