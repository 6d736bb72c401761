package ipcsync

import (
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// While goroutines of a handle that were released leave the queue one by one,
// the last one stays released, or not released, as it was.
func TestReleasedBesideLeave(t *testing.T) {
	name := proctest.Name(t)
	m, err := OpenMutex(name, nil)
	proctest.Must(t, err)
	proctest.CloseAtEnd(t, m)
	c, err := OpenCond(name+".cond", m, nil)
	proctest.Must(t, err)
	proctest.CloseAtEnd(t, c)
	for round := range 300 {
		var queue []*condWait
		for range 100 {
			w, err := c.enlist(t.Context())
			proctest.Must(t, err)
			queue = append(queue, w)
		}
		before, last := queue[:len(queue)-1], queue[len(queue)-1]
		all := round%2 == 0
		if all {
			proctest.Must(t, c.Broadcast())
		} else {
			for range before {
				proctest.Must(t, c.Signal())
			}
		}
		looking, left := make(chan bool), make(chan bool)
		var wg sync.WaitGroup
		wg.Go(func() {
			close(looking)
			for {
				if got := c.released(last); got != all {
					t.Errorf("the last goroutine is released: %v, want %v", got, all)
					return
				}
				select {
				case <-left:
					return
				default:
				}
			}
		})
		<-looking
		for _, w := range before {
			proctest.Must(t, c.delist(w, true))
		}
		close(left)
		wg.Wait()
		proctest.Must(t, c.delist(last, all))
	}
}
