// Metrics shows what is in shared memory to Prometheus, or whatever else reads
// its text format.
//
//	go run ./examples/metrics [-addr ADDRESS] [-dir DIR]
//
// and, in another terminal, curl http://127.0.0.1:9464/metrics. It is a
// template: copy the file, and leave out or add what you like. sharedseg.List
// attaches to nothing, so nobody notices that it is scraped.
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sharedseg/sharedseg"
)

// metrics are what is said of each name. Their values follow from an Info.
var metrics = []struct {
	name, kind, help string
	value            func(*sharedseg.Info) float64
}{
	{"sharedseg_live", "gauge", "1 if somebody has the name open, or it persists.", func(i *sharedseg.Info) float64 { return one(i.Live()) }},
	{"sharedseg_size_bytes", "gauge", "Memory behind the name.", func(i *sharedseg.Info) float64 { return float64(i.Size) }},
	{"sharedseg_writers", "gauge", "Open handles that may write.", func(i *sharedseg.Info) float64 { return float64(i.Writers) }},
	{"sharedseg_readers", "gauge", "Open handles that only read.", func(i *sharedseg.Info) float64 { return float64(i.Readers) }},
	{"sharedseg_versions_total", "counter", "Values stored, or messages sent.", func(i *sharedseg.Info) float64 { return float64(i.Version) }},
	{"sharedseg_messages", "gauge", "Messages of a queue that are not done.", func(i *sharedseg.Info) float64 { return float64(i.Messages) }},
	{"sharedseg_messages_taken", "gauge", "Of these, those that live receivers have.", func(i *sharedseg.Info) float64 { return float64(len(i.Takers)) }},
	{"sharedseg_permits_used", "gauge", "Permits of a semaphore that are used.", func(i *sharedseg.Info) float64 { return float64(i.Used) }},
	{"sharedseg_lock_held", "gauge", "1 if the lock is held.", func(i *sharedseg.Info) float64 { return one(i.Lock.State == sharedseg.LockHeld) }},
	{"sharedseg_lock_waited_for", "gauge", "1 if somebody waits for the lock.", func(i *sharedseg.Info) float64 { return one(i.Lock.Waiters) }},
	{"sharedseg_lock_owner_died", "gauge", "1 if an owner died and nobody has taken its lock over.", func(i *sharedseg.Info) float64 { return one(i.Lock.State == sharedseg.LockOwnerDied) }},
	{"sharedseg_waits_total", "counter", "Waits for a lock or a version, by sleeping.", func(i *sharedseg.Info) float64 { return float64(i.Counters.Waits) }},
	{"sharedseg_take_overs_total", "counter", "Locks taken over from owners that died.", func(i *sharedseg.Info) float64 { return float64(i.Counters.TakeOvers) }},
	{"sharedseg_disturbed_reads_total", "counter", "Reads that had to start again.", func(i *sharedseg.Info) float64 { return float64(i.Counters.DisturbedReads) }},
	{"sharedseg_redeliveries_total", "counter", "Messages taken from receivers that died.", func(i *sharedseg.Info) float64 { return float64(i.Counters.Redeliveries) }},
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// appendMetrics appends the metrics of all names, in the text format of
// Prometheus, version 0.0.4.
func appendMetrics(b []byte, place *sharedseg.Place) ([]byte, error) {
	var infos []sharedseg.Info
	for info, err := range sharedseg.List(place) {
		if err != nil && info.Name == "" {
			return nil, err // the directory cannot be read
		}
		if err != nil {
			continue // one file that is damaged is no reason to say nothing of the others
		}
		infos = append(infos, info)
	}
	for _, m := range metrics {
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for i := range infos {
			info := &infos[i]
			b = fmt.Appendf(b, "%s{name=%s,kind=%s} %s\n", m.name, label(info.Name), label(string(info.Kind)),
				strconv.FormatFloat(m.value(info), 'g', -1, 64))
		}
	}
	return b, nil
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label quotes the value of a label. Labels such as the type, which you might
// add, have whatever another process wrote.
func label(value string) string {
	return `"` + escapes.Replace(strings.ToValidUTF8(value, "\uFFFD")) + `"`
}

func main() { os.Exit(run("", os.Args[1:])) }

// run serves until Ctrl-C, and returns the exit code.
func run(_ string, args []string) int {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:9464", "serve at `ADDRESS`")
	dir := flags.String("dir", "", "the names in `DIR` (default: the platform's shared memory)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// With this mode, files of other users are looked at as well, as far as
	// their own modes permit it.
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
