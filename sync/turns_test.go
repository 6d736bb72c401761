package ipcsync

import (
	"sync"
	"testing"

	"github.com/sharedseg/sharedseg/internal/proctest"
)

// A goroutine that has been released stays so while those before it in the
// queue of the handle leave.
func TestReleasedBesideLeave(t *testing.T) {
	name := proctest.Name(t)
	m, err := OpenMutex(name, nil)
	proctest.Must(t, err)
	proctest.CloseAtEnd(t, m)
	c, err := OpenCond(name+".cond", m, nil)
	proctest.Must(t, err)
	proctest.CloseAtEnd(t, c)
	for range 300 {
		var queue []*condWait
		for range 100 {
			w, err := c.enlist(t.Context())
			proctest.Must(t, err)
			queue = append(queue, w)
		}
		proctest.Must(t, c.Broadcast())
		last := queue[len(queue)-1]
		looking, left := make(chan bool), make(chan bool)
		var wg sync.WaitGroup
		wg.Go(func() {
			close(looking)
			for {
				if !c.released(last) {
					t.Error("the last goroutine is not released any more")
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
		for _, w := range queue[:len(queue)-1] {
			proctest.Must(t, c.delist(w, true))
		}
		close(left)
		wg.Wait()
		proctest.Must(t, c.delist(last, true))
	}
}
