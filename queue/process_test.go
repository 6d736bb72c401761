package queue_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/internal/proctest"
	"github.com/sharedseg/sharedseg/queue"
)

// A message carries the number of its sender and its own number among the
// messages of that sender.
type message struct {
	Sender, Serial uint64
	Fill           [30]uint64 // Serial times the index
}

func newMessage(sender, serial uint64) (m message) {
	m.Sender, m.Serial = sender, serial
	for i := range m.Fill {
		m.Fill[i] = serial * uint64(i)
	}
	return m
}

func (m *message) check() error {
	if whole := newMessage(m.Sender, m.Serial); *m != whole {
		return fmt.Errorf("torn: %+v", *m)
	}
	return nil
}

func openMessages(name string) (*queue.Queue[message], error) {
	return queue.Open(name, codec.Fixed[message](), &queue.Options{Depth: 16})
}

// receiver NAME receives messages until the queue is shut and empty. For each
// message it writes "begin SERIAL ATTEMPT TIME" when it has it, "back …" before
// it returns it or "ending …" before it calls Done, and "end …" after Done.
func receiver(args []string) error {
	q, err := openMessages(args[0])
	if err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
		d, err := q.Receive(ctx)
		cancel()
		if err == io.EOF {
			return q.Close()
		} else if err != nil {
			return err
		}
		m, err := d.Value()
		if err == nil {
			err = m.check()
		}
		if err != nil {
			return err
		}
		// One system call for each line, so that a line is written whole or not
		// at all.
		say := func(what string) {
			os.Stdout.WriteString(fmt.Sprintln(what, m.Serial, d.Attempt(), time.Now().UnixNano()))
		}
		say("begin")
		if rand.IntN(50) == 0 {
			say("back")
			err = d.Return()
		} else {
			say("ending")
			if err = d.Done(); err == nil {
				say("end")
			}
		}
		if err != nil {
			return err
		}
	}
}

// sender NAME ID sends messages until it is killed, and writes the serial of
// each that it has sent.
func sender(args []string) error {
	q, err := openMessages(args[0])
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for serial := uint64(1); ; serial++ {
		ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
		err := q.Send(ctx, newMessage(id, serial))
		cancel()
		if err != nil {
			return err
		}
		os.Stdout.WriteString(fmt.Sprintln(serial))
	}
}

// holder NAME receives a message and keeps it.
func holder(args []string) error {
	q, err := openMessages(args[0])
	if err != nil {
		return err
	}
	d, err := q.Receive(context.Background())
	if err != nil {
		return err
	}
	m, err := d.Value()
	fmt.Println(m.Serial, d.Attempt())
	proctest.Await()
	return err
}

// stuck NAME takes a loan and keeps it.
func stuck(args []string) error {
	q, err := openMessages(args[0])
	if err != nil {
		return err
	}
	l, err := q.Loan(context.Background())
	if err != nil {
		return err
	}
	*l.Value() = newMessage(9, 9)
	fmt.Println("ready")
	proctest.Await()
	return nil
}

// A turn is what a receiver wrote about one attempt at a message.
type turn struct {
	receiver                 int   // its number
	begin, back, ending, end int64 // when it wrote that, or 0
}

// A ledger collects what all receivers wrote, by message and attempt, and when
// they were killed.
type ledger struct {
	*testing.T
	mu     sync.Mutex
	turns  map[uint64]map[int]*turn
	killed map[int]int64
}

// follow records what a receiver writes until its output ends.
func (l *ledger) follow(receiver int, p *proctest.Proc) {
	for lines := bufio.NewScanner(p.Output()); lines.Scan(); {
		var what string
		var serial uint64
		var attempt int
		var at int64
		if _, err := fmt.Sscan(lines.Text(), &what, &serial, &attempt, &at); err != nil {
			l.Errorf("%q: %v", lines.Text(), err)
			continue
		}
		l.mu.Lock()
		if l.turns[serial] == nil {
			l.turns[serial] = map[int]*turn{}
		}
		u := l.turns[serial][attempt]
		if u == nil {
			u = &turn{receiver: receiver}
			l.turns[serial][attempt] = u
		}
		if u.receiver != receiver {
			l.Errorf("receivers %d and %d both had attempt %d at message %d", u.receiver, receiver, attempt, serial)
		}
		switch what {
		case "begin":
			u.begin = at
		case "back":
			u.back = at
		case "ending":
			u.ending = at
		case "end":
			u.end = at
		}
		l.mu.Unlock()
	}
}

// check checks the turns of a message. It returns the number of times that it
// was received.
func (l *ledger) check(serial uint64) int {
	turns := l.turns[serial]
	done := 0
	for attempt, u := range turns {
		if u.end != 0 || u.ending != 0 && l.killed[u.receiver] != 0 {
			done++
		}
		for later, v := range turns {
			if later <= attempt {
				continue
			}
			switch over := max(u.back, l.killed[u.receiver]); {
			case u.end != 0:
				l.Errorf("message %d was received again after its Done: %+v, %+v", serial, u, v)
			case u.back != 0 && v.begin > u.back:
			case over == 0 || v.begin < over:
				l.Errorf("two live receivers had message %d at the same time: %+v, %+v, killed %d", serial, u, v, over)
			}
		}
	}
	if done == 0 {
		l.Errorf("message %d was never done: %+v", serial, turns)
	}
	return len(turns)
}

// 30,000 messages go through three receivers, one of which is killed every 2 to
// 12 ms. Each message is received. No two live receivers have one at the same
// time, and none is received again after its Done returned. In the end the
// queue is empty.
func TestReceiversDie(t *testing.T) {
	messages := uint64(30_000)
	if testing.Short() {
		messages = 3_000
	}
	name := proctest.Name(t)
	q, err := openMessages(name)
	must(t, err)
	defer q.Close()
	l := &ledger{T: t, turns: map[uint64]map[int]*turn{}, killed: map[int]int64{}}
	sent := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*proctest.Patience)
		defer cancel()
		for serial := uint64(1); serial <= messages; serial++ {
			if err := q.Send(ctx, newMessage(1, serial)); err != nil {
				sent <- err
				return
			}
		}
		sent <- q.Shut()
	}()
	var followers sync.WaitGroup
	var receivers []*proctest.Proc
	var numbers []int
	next := 0
	spawn := func() {
		next++
		number, p := next, proctest.Start(t, "receiver", name)
		receivers, numbers = append(receivers, p), append(numbers, number)
		followers.Go(func() { l.follow(number, p) })
	}
	for range 3 {
		spawn()
	}
	kills := 0
	for over := false; !over; {
		select {
		case err := <-sent:
			must(t, err)
			over = true
		case <-time.After(time.Duration(2+rand.IntN(11)) * time.Millisecond):
			i := rand.IntN(len(receivers))
			l.mu.Lock()
			l.killed[numbers[i]] = time.Now().UnixNano()
			l.mu.Unlock()
			receivers[i].Slay()
			receivers, numbers = slices.Delete(receivers, i, i+1), slices.Delete(numbers, i, i+1)
			kills++
			spawn()
		}
	}
	followers.Wait()
	for _, p := range receivers {
		p.Wait()
	}
	if q.Len() != 0 {
		t.Errorf("%d messages are left", q.Len())
	}
	again := 0
	for serial := uint64(1); serial <= messages; serial++ {
		again += l.check(serial) - 1
	}
	t.Logf("%d messages, %d kills, %d more attempts", messages, kills, again)
}

// 40 senders are killed while they send. Every message that Send reported as
// sent is received, in order, and at most one more of each sender.
func TestSendersDie(t *testing.T) {
	senders := 40
	if testing.Short() {
		senders = 8
	}
	name := proctest.Name(t)
	q, err := openMessages(name)
	must(t, err)
	defer q.Close()
	received := make(map[uint64]uint64) // the last serial of each sender
	ended := make(chan error, 1)
	go func() {
		for m, err := range q.All(patient(t)) {
			if err == nil {
				err = m.check()
			}
			if err == nil && m.Serial != received[m.Sender]+1 {
				err = fmt.Errorf("message %d of sender %d after %d", m.Serial, m.Sender, received[m.Sender])
			}
			if err != nil {
				ended <- err
				return
			}
			received[m.Sender] = m.Serial
		}
		ended <- nil
	}()
	acked := make(map[uint64]uint64)
	for id := uint64(1); id <= uint64(senders); {
		var group []*proctest.Proc // both send at the same time
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 2 {
			p, sender := proctest.Start(t, "sender", name, fmt.Sprint(id)), id
			p.Expect("ready")
			p.Expect("1") // it is sending
			mu.Lock()
			acked[sender] = 1
			mu.Unlock()
			group = append(group, p)
			wg.Go(func() {
				for lines := bufio.NewScanner(p.Output()); lines.Scan(); {
					if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
						mu.Lock()
						acked[sender] = n
						mu.Unlock()
					}
				}
			})
			id++
		}
		for _, p := range group {
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			p.Slay()
		}
		wg.Wait()
		for _, p := range group {
			p.Kill()
		}
	}
	must(t, q.Shut())
	must(t, proctest.Receive(t, ended))
	total := uint64(0)
	for id := range uint64(senders) {
		if a, r := acked[id+1], received[id+1]; r != a && r != a+1 {
			t.Errorf("sender %d sent %d messages, %d were received", id+1, a, r)
		}
		total += received[id+1]
	}
	if total == 0 {
		t.Error("nothing was sent")
	}
	t.Logf("%d messages", total)
}

// A waiting receiver gets the message of a receiver that is killed.
func TestHandOver(t *testing.T) {
	name := proctest.Name(t)
	q, err := openMessages(name)
	must(t, err)
	defer q.Close()
	for attempt := 1; attempt < 10; attempt++ {
		if attempt == 1 {
			must(t, q.Send(patient(t), newMessage(1, 7)))
		}
		p := proctest.Start(t, "holder", name)
		p.Expect(fmt.Sprintf("7 %d", 2*attempt-1))
		got := make(chan *queue.Delivery[message])
		go func() {
			d, err := q.Receive(patient(t))
			if err != nil {
				t.Error(err)
			}
			got <- d
		}()
		if attempt%2 == 0 {
			proctest.Parked(t, ".(*Queue[...]).ReceiveInto(")
		}
		p.Kill()
		d := proctest.Receive(t, got)
		if d == nil || d.Attempt() != 2*attempt {
			t.Fatalf("%+v, want attempt %d", d, 2*attempt)
		}
		must(t, d.Return())
	}
}

// A sender that is killed while it has a loan, and so holds the lock, has sent
// nothing and does not block the others. While it lives, calls end with their
// contexts.
func TestLenderDies(t *testing.T) {
	name := proctest.Name(t)
	q, err := openMessages(name)
	must(t, err)
	defer q.Close()
	p := proctest.Start(t, "stuck", name)
	p.Expect("ready")
	ctx := during(t, 20*time.Millisecond)
	err = q.Send(ctx, newMessage(1, 1))
	want(t, err, context.DeadlineExceeded, fmt.Sprintf("held by process %d", p.Pid()))
	if sent, err := q.TrySend(newMessage(1, 1)); sent || err != nil {
		t.Errorf("TrySend = %v, %v", sent, err)
	}
	p.Kill()
	must(t, q.Send(patient(t), newMessage(1, 1)))
	d, err := q.Receive(patient(t))
	must(t, err)
	if m, err := d.Value(); m.Sender != 1 || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
	must(t, d.Done())
	if d, err := q.TryReceive(); d != nil || errors.Is(err, nil) && err != nil {
		t.Errorf("TryReceive = %+v, %v", d, err)
	}
}
