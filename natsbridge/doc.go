// Package natsbridge connects the segments and queues of several hosts through
// NATS JetStream.
//
//	nc, err := nats.Connect("nats://nats.example.com", nats.MaxReconnects(-1))
//	if err != nil {
//		return err
//	}
//	defer nc.Close()
//	js, err := jetstream.New(nc)
//	if err != nil {
//		return err
//	}
//	// On one host, the segment "prices" goes to the key "prices" of a bucket:
//	err = natsbridge.Publish(ctx, "prices", js, "shop", "prices", nil)
//	// On the others, the key goes to a segment "prices":
//	err = natsbridge.Mirror(ctx, js, "shop", "prices", "prices", nil)
//
// It needs a NATS server with JetStream, and a bucket or stream on it. Shared
// memory ends at its host. NATS stores, replicates and reconnects, and this
// package carries values and messages to it and back:
//
//	Publish   puts the newest value of a segment into a key of a KeyValue bucket
//	Mirror    stores the newest value of a key in a segment
//	Forward   publishes the messages of a queue to a stream
//	Drain     sends the messages of a stream to a queue
//
// A host can publish and mirror the same key, and so can any number of hosts: a
// value that came from the key is not put there again.
//
// Each function runs until its context is done. It continues after a lost
// connection, a restart of the server, and a segment or queue that was removed
// and created again, and reports these through a [slog.Logger]. A function
// takes a name and not a handle, because a handle stays with the memory that it
// opened, while a bridge follows the name.
//
// A bridge needs no Go type: it copies encodings, so it works with every codec.
// The codec's ID, the name of the type and the byte order travel with the value
// as headers. The other end refuses what Open would refuse.
//
// The caller owns the connection. Its options determine how long it tries to
// reconnect: with [nats.MaxReconnects](-1) it never gives up. A bridge waits up
// to [nats.ReconnectWait] after a server is back.
//
// The README says what is guaranteed from host to host, and what is not.
package natsbridge
