// Command grpc puts httpkey in front of a gRPC server.
package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/streams"
)

func main() {
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ada", Scopes: []string{"health:watch"}})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("grpc.health.v1.Health is on 127.0.0.1:8080, with the metadata x-api-key:", created.Secret.Reveal())
	live := streams.New(store, nil)
	go live.Run(context.Background())
	server := newServer(keys{guard, live, map[string]string{healthpb.Health_Watch_FullMethodName: "health:watch"}})
	healthpb.RegisterHealthServer(server, health.NewServer())
	log.Fatal(server.Serve(listener))
}

func newServer(k keys) *grpc.Server {
	return grpc.NewServer(grpc.UnaryInterceptor(k.unary), grpc.StreamInterceptor(k.stream))
}
