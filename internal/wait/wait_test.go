package wait

import (
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	b := NewBudget(10 * time.Millisecond)
	for _, c := range []struct {
		asked, took, left time.Duration
	}{
		{time.Millisecond, time.Millisecond, 9 * time.Millisecond},
		{time.Millisecond, 3 * time.Millisecond, 6 * time.Millisecond},
		{time.Millisecond, time.Hour, 2 * time.Millisecond}, // stopped for an hour
		{time.Millisecond, time.Hour, 0},
	} {
		b.Count(c.asked, c.took)
		if b.Left() != c.left {
			t.Errorf("after %v instead of %v: %v left, want %v", c.took, c.asked, b.Left(), c.left)
		}
	}
	if b.Sleep(time.Hour) {
		t.Error("Sleep sleeps although no time is left")
	}
	b.Renew()
	n := 0
	for b.Sleep(time.Millisecond) {
		n++
	}
	if b.Limit() != 10*time.Millisecond || n < 3 || n > 10 {
		t.Errorf("%d sleeps of 1 ms in %v", n, b.Limit())
	}
	if b := NewBudget(0); b.Sleep(0) {
		t.Error("Sleep sleeps with a limit of 0")
	}
}
