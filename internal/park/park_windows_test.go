package park

import (
	"fmt"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/internal/kernel"
	"github.com/sharedseg/sharedseg/internal/layout"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

func init() { roles["owner"] = owner }

// owner NAME holds member slot 5 of the memory NAME.
func owner(args []string) error {
	s, err := share(args[0])
	if err != nil {
		return err
	}
	free, err := s.family.Hold(kernel.MemberPart(5))
	if err != nil {
		return err
	}
	fmt.Println("free:", free)
	proctest.Await()
	return nil
}

// A wait for the mutex ends when its owner exits, and not before.
func TestOwnerDies(t *testing.T) {
	name := proctest.Name(t)
	s, err := share(name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	queue := NewQueue(s.word, s.family, MutexPart)
	defer queue.Close()
	p := proctest.Start(t, "owner", name)
	p.Expect("free: true")
	word := uint32(layout.NewIdent(5, 77)) | layout.WaitersBit
	s.word.Store(word)
	woken := make(chan bool)
	go func() { queue.Wait(word, time.Hour); close(woken) }()
	select {
	case <-woken:
		t.Fatal("the wait ended although the owner lives")
	case <-time.After(50 * time.Millisecond):
	}
	p.Kill()
	within(t, "the wait for a dead owner", func() { <-woken })
	if free, err := s.family.Hold(kernel.MemberPart(5)); !free || err != nil {
		t.Errorf("the dead owner's member slot is still held: %v, %v", free, err)
	}
	s.family.Drop(kernel.MemberPart(5))
}
