// Metrics exports the state of all shared memory to Prometheus, or to any
// program that reads its text format.
//
//	go run ./examples/metrics [-addr ADDRESS] [-dir DIR]
//
// This serves the metrics until Ctrl-C. To see them, run curl
// http://127.0.0.1:9464/metrics in another terminal. The program is a template:
// copy the file, and remove or add what you like. sharedseg.List attaches to
// nothing, so scraping does not affect the processes that share the memory.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg"
)

// metrics lists the metrics of each name. Their values are computed from its
// Info. Names of other kinds than those listed do not have the metric.
var metrics = []struct {
	name, kind, help string
	of               []sharedseg.Kind // all kinds if empty
	value            func(*sharedseg.Info) float64
}{
	{"sharedseg_live", "gauge", "1 if a process has the name open, or it persists.", nil, func(i *sharedseg.Info) float64 { return one(i.Live()) }},
	{"sharedseg_size_bytes", "gauge", "Size of the memory, in bytes.", nil, func(i *sharedseg.Info) float64 { return float64(i.Size) }},
	{"sharedseg_writers", "gauge", "Open handles that can write.", nil, func(i *sharedseg.Info) float64 { return float64(i.Writers) }},
	{"sharedseg_readers", "gauge", "Open handles that only read.", nil, func(i *sharedseg.Info) float64 { return float64(i.Readers) }},
	{"sharedseg_capacity_bytes", "gauge", "Size of the largest value or message, in bytes.", values, func(i *sharedseg.Info) float64 { return float64(i.Capacity) }},
	{"sharedseg_slots", "gauge", "Versions that a segment keeps, or messages that a queue has room for.", values, func(i *sharedseg.Info) float64 { return float64(i.Slots) }},
	{"sharedseg_versions_total", "counter", "Values stored in a segment, or messages sent to a queue.", values, func(i *sharedseg.Info) float64 { return float64(i.Version) }},
	{"sharedseg_messages", "gauge", "Messages in a queue that are not done.", queues, func(i *sharedseg.Info) float64 { return float64(i.Messages) }},
	{"sharedseg_messages_taken", "gauge", "Messages in a queue that live receivers have taken.", queues, func(i *sharedseg.Info) float64 { return float64(len(i.Takers)) }},
	{"sharedseg_messages_orphaned", "gauge", "Messages in a queue whose receiver died.", queues, func(i *sharedseg.Info) float64 { return float64(i.Orphans) }},
	{"sharedseg_queue_shut", "gauge", "1 if the queue accepts no more messages.", queues, func(i *sharedseg.Info) float64 { return one(i.Shut) }},
	{"sharedseg_permits", "gauge", "Permits of a semaphore.", semaphores, func(i *sharedseg.Info) float64 { return float64(i.Permits) }},
	{"sharedseg_permits_used", "gauge", "Permits of a semaphore that are in use.", semaphores, func(i *sharedseg.Info) float64 { return float64(i.Used) }},
	{"sharedseg_cond_waiting", "gauge", "Goroutines that wait for a cond.", []sharedseg.Kind{sharedseg.KindCond}, func(i *sharedseg.Info) float64 { return float64(i.Waiting) }},
	{"sharedseg_event_set", "gauge", "1 if the event is set.", []sharedseg.Kind{sharedseg.KindEvent}, func(i *sharedseg.Info) float64 { return one(i.Set) }},
	{"sharedseg_lock_readers", "gauge", "Goroutines that hold an rwmutex for reading.", []sharedseg.Kind{sharedseg.KindRWMutex}, func(i *sharedseg.Info) float64 { return float64(i.LockReaders) }},
	{"sharedseg_lock_held", "gauge", "1 if a handle holds the lock. A lock that only readers hold is not held.", nil, func(i *sharedseg.Info) float64 { return one(i.Lock.State == sharedseg.LockHeld) }},
	{"sharedseg_lock_waited_for", "gauge", "1 if a process waits for the lock, the semaphore or the event.", nil, func(i *sharedseg.Info) float64 { return one(i.Lock.Waiters || i.Waited) }},
	{"sharedseg_lock_owner_died", "gauge", "1 if the owner of the lock died, and no process has taken it over yet.", nil, func(i *sharedseg.Info) float64 { return one(i.Lock.State == sharedseg.LockOwnerDied) }},
	{"sharedseg_waits_total", "counter", "Waits for a lock or a version that put a process to sleep.", nil, func(i *sharedseg.Info) float64 { return float64(i.Counters.Waits) }},
	{"sharedseg_take_overs_total", "counter", "Locks taken over from owners that died.", nil, func(i *sharedseg.Info) float64 { return float64(i.Counters.TakeOvers) }},
	{"sharedseg_disturbed_reads_total", "counter", "Reads that were disturbed by a writer and started again.", []sharedseg.Kind{sharedseg.KindSegment}, func(i *sharedseg.Info) float64 { return float64(i.Counters.DisturbedReads) }},
	{"sharedseg_redeliveries_total", "counter", "Messages taken from receivers that died.", queues, func(i *sharedseg.Info) float64 { return float64(i.Counters.Redeliveries) }},
}

var (
	queues     = []sharedseg.Kind{sharedseg.KindQueue}
	semaphores = []sharedseg.Kind{sharedseg.KindSemaphore}
	values     = []sharedseg.Kind{sharedseg.KindSegment, sharedseg.KindQueue}
)

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// appendMetrics appends the metrics of all names in the text format of
// Prometheus, version 0.0.4.
func appendMetrics(b []byte, place *sharedseg.Place) ([]byte, error) {
	var infos []sharedseg.Info
	for info, err := range sharedseg.List(place) {
		if err != nil && info.Name == "" {
			return nil, err // the directory cannot be read
		}
		if err != nil {
			continue // a damaged file must not hide the others
		}
		infos = append(infos, info)
	}
	for _, m := range metrics {
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for i := range infos {
			info := &infos[i]
			if len(m.of) > 0 && !slices.Contains(m.of, info.Kind) {
				continue
			}
			b = fmt.Appendf(b, "%s{name=%s,kind=%s} %s\n", m.name, label(info.Name), label(string(info.Kind)),
				strconv.FormatFloat(m.value(info), 'g', -1, 64))
		}
	}
	return b, nil
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label quotes the value of a label. If you add a label such as the type, its
// value comes from another process and can contain anything.
func label(value string) string {
	return `"` + escapes.Replace(strings.ToValidUTF8(value, "\uFFFD")) + `"`
}

func main() { os.Exit(run("", os.Args[1:])) }

// run serves the metrics until Ctrl-C, and returns the exit code.
func run(_ string, args []string) int {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:9464", "serve at `ADDRESS`")
	dir := flags.String("dir", "", "show the names in `DIR` (default: the platform's shared memory)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "metrics: unexpected argument %q\n", flags.Arg(0))
		flags.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// This mode includes the files of other users that this process is
	// permitted to read.
	if err := serve(ctx, *addr, &sharedseg.Place{Dir: *dir, Mode: 0o666}); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, addr string, place *sharedseg.Place) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		b, err := appendMetrics(nil, place)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		ended <- server.Shutdown(last)
	}()
	fmt.Printf("Serving http://%s/metrics\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}
