package peers

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sharedseg/sharedseg/bench/internal/harness"
	"github.com/sharedseg/sharedseg/internal/proctest"
)

var echoes = harness.Echoes{
	"grpc": {Dial: dialGRPC, Serve: serveGRPC},
	"nats": {Dial: dialNATSEcho, Serve: serveNATSEcho},
}

func BenchmarkRoundTrip(b *testing.B) { echoes.Run(b) }

func dialGRPC(b *testing.B) harness.RoundTrip {
	if runtime.GOOS == "windows" {
		b.Skip("grpc does not support unix sockets on this system")
	}
	// The path of a socket is limited to about a hundred bytes, which a path of
	// b.TempDir easily exceeds.
	dir, err := os.MkdirTemp("", "bench")
	harness.Must(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	proctest.Start(b, "echo", "grpc", socket).Expect("ready")
	opened, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn := harness.Keep(b, opened, err)
	client, ctx := pb.NewBenchmarkServiceClient(conn), context.Background()
	return func(sent, got *harness.Message) error {
		answer, err := client.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: sent[:]}})
		if err != nil {
			return err
		}
		if n := copy(got[:], answer.GetPayload().GetBody()); n != len(got) {
			return fmt.Errorf("%d bytes came back", n)
		}
		return nil
	}
}

// serveGRPC, with the argument SOCKET, serves until its standard input ends.
func serveGRPC(args []string) error {
	listener, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pb.RegisterBenchmarkServiceServer(server, echo{})
	go func() {
		proctest.Await()
		server.Stop()
	}()
	fmt.Println("ready")
	return server.Serve(listener)
}

type echo struct {
	pb.UnimplementedBenchmarkServiceServer
}

func (echo) UnaryCall(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: r.GetPayload().GetBody()}}, nil
}
