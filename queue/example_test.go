package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

type Order struct{ Tea uint32 }

func Example() {
	ctx := context.Background()
	q, err := queue.Open("com.example.orders", codec.Fixed[Order](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()

	for cups := range uint32(3) { // in one process
		if err := q.Send(ctx, Order{Tea: cups + 1}); err != nil {
			log.Fatal(err)
		}
	}
	if err := q.Shut(); err != nil {
		log.Fatal(err)
	}

	for order, err := range q.All(ctx) { // in another process, or in several
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(order.Tea, "cups")
	}
	// Output:
	// 1 cups
	// 2 cups
	// 3 cups
}

// The receiver decides when a message is done.
func ExampleQueue_Receive() {
	ctx := context.Background()
	q, err := queue.Open("com.example.jobs.bytes", codec.Bytes(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	if err := q.Send(ctx, []byte("a job")); err != nil {
		log.Fatal(err)
	}

	d, err := q.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Return() // does nothing after Done
	if d.Attempt() > 3 {
		fmt.Println("its last three receivers failed")
	}
	fmt.Printf("%s\n", d.Bytes()) // in place, without a copy
	if err := d.Done(); err != nil {
		log.Fatal(err)
	}
	// Output: a job
}

// TrySend and TryReceive do not wait for room or for a message.
func ExampleQueue_TryReceive() {
	q, err := queue.Open("com.example.numbers", codec.Fixed[int64](), &queue.Options{Depth: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	for n := range int64(2) {
		sent, err := q.TrySend(n)
		fmt.Println("sent:", sent, err)
	}
	for {
		d, err := q.TryReceive()
		if err != nil {
			log.Fatal(err)
		}
		if d == nil {
			fmt.Println("no message")
			return
		}
		n, err := d.Value()
		fmt.Println("received:", n, errors.Join(err, d.Done()))
	}
	// Output:
	// sent: true <nil>
	// sent: false <nil>
	// received: 0 <nil>
	// no message
}

// A loop that is left early returns its message to the queue.
func ExampleQueue_All() {
	ctx := context.Background()
	q, err := queue.Open("com.example.words", codec.String(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()
	for _, word := range []string{"tea", "milk"} {
		if err := q.Send(ctx, word); err != nil {
			log.Fatal(err)
		}
	}

	for word, err := range q.All(ctx) {
		fmt.Println(word, err)
		break // the word is not done
	}
	if err := q.Shut(); err != nil {
		log.Fatal(err)
	}
	for word, err := range q.All(ctx) {
		fmt.Println(word, err)
	}
	_, err = q.Receive(ctx)
	fmt.Println(err == io.EOF)
	// Output:
	// tea <nil>
	// tea <nil>
	// milk <nil>
	// true
}

// A Loan is a message that its sender writes in place.
func ExampleQueue_Loan() {
	type frame struct {
		Number uint64
		Pixels [1 << 16]uint8
	}
	ctx := context.Background()
	q, err := queue.Open("com.example.frames", codec.Fixed[frame](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()

	l, err := q.Loan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Discard() // does nothing after Publish
	f := l.Value()
	f.Number = 7
	for i := range f.Pixels { // overwrite all: the memory is not cleared
		f.Pixels[i] = uint8(i)
	}
	if err := l.Publish(len(l.Bytes())); err != nil {
		log.Fatal(err)
	}

	d, err := q.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer d.Done()
	got, err := d.Value()
	fmt.Println(got.Number, got.Pixels[100], err)
	// Output: 7 100 <nil>
}
