package queue_test

import (
	"context"
	"fmt"
	"log"

	"github.com/sharedseg/sharedseg/codec"
	"github.com/sharedseg/sharedseg/queue"
)

type Order struct{ Tea uint32 }

func Example() {
	ctx := context.Background()
	q, err := queue.Open("sharedseg-example-orders", codec.Fixed[Order](), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer q.Close()

	for cups := range uint32(3) { // in one process
		if err := q.Send(ctx, Order{cups + 1}); err != nil {
			log.Fatal(err)
		}
	}
	q.Shut()

	for order, err := range q.All(ctx) { // in another, or several
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

// A receiver that decides by itself when a message is done.
func ExampleQueue_Receive() {
	ctx := context.Background()
	q, err := queue.Open("sharedseg-example-receive", codec.Bytes(), nil)
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
	defer d.Return() // unless it is done
	if d.Attempt() > 3 {
		fmt.Println("it has killed three receivers")
	}
	fmt.Printf("%s\n", d.Bytes()) // in place
	if err := d.Done(); err != nil {
		log.Fatal(err)
	}
	// Output: a job
}
