// Package natsbridge connects segments and queues of several hosts, through
// NATS JetStream.
//
// Shared memory ends at its host. When users outgrow that, they need an engine
// that replicates, stores and reconnects; NATS is one, and this package is the
// way from shared memory to it and back:
//
//	Publish   the newest value of a segment goes to a key of a KeyValue bucket
//	Mirror    the newest value of a key goes into a segment
//	Forward   the messages of a queue go into a stream
//	Drain     the messages of a stream go into a queue
//
// A host may publish and mirror the same key, as may any number of hosts: what
// came from the key is not sent back.
//
// Each function runs until its context is done. It goes on after a lost
// connection, a restarted server and a re-created segment or queue, and says so
// through a [slog.Logger]. Each opens its name with a handle of its own, as a
// handle cannot outlive what it was opened for, while a bridge does. Values
// travel as they lie in the slot, so a bridge needs no Go type: it works with
// every codec, also of programs that it does not know. The codec's ID, the name
// of the type and the byte order travel beside the value, as headers, and the
// other end refuses what Open would refuse.
//
// The connection is the caller's. Its options say how long a reconnect may
// take: with [nats.MaxReconnects](-1) it never gives up, and
// [nats.ReconnectWait] is how long the bridge stands still after a server is
// back, at most.
//
// What is promised from host to host, and what is not, is in the README.
package natsbridge
