package main

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
	"github.com/httpkey/httpkey/streams"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, metadataOf := range map[string]func(key string) metadata.MD{
		"x-api-key": func(key string) metadata.MD { return metadata.Pairs("x-api-key", key) },
		"bearer":    func(key string) metadata.MD { return metadata.Pairs("authorization", "Bearer "+key) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contract.RunRPC(t, nil, func(t *testing.T, guard *httpkey.Guard, handler func(context.Context)) contract.RPC {
				k := newKeys(guard)
				k.scopes = map[string]string{"/scoped/unary": "write", "/scoped/stream": "write"}
				conn := serve(t, k, 0, handler)
				calls := make(contract.RPC)
				for _, service := range []string{"plain", "scoped"} {
					for _, method := range []string{"unary", "stream"} {
						calls[service+" "+method] = func(ctx context.Context, keys ...string) contract.Outcome {
							var lines []metadata.MD
							for _, key := range keys {
								lines = append(lines, metadataOf(key))
							}
							ctx = metadata.NewOutgoingContext(ctx, metadata.Join(lines...))
							return outcome(call(ctx, conn, "/"+service+"/"+method))
						}
					}
				}
				return calls
			})
		})
	}
}

// A stream pays for its start, and for each message.
func TestMessagesAreCharged(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	const messages = 3
	conn := serve(t, newKeys(guard), messages, func(context.Context) {})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
	if err := call(ctx, conn, "/plain/stream"); err != nil {
		t.Fatal(err)
	}
	seen, err := guard.Admit(t.Context(), key, 0)
	if err != nil || seen.Result.Remaining != 60-1-messages {
		t.Errorf("a stream of %d messages left %d of 60 (%v)", messages, seen.Result.Remaining, err)
	}
}

// A stream ends when its token is revoked, and the client learns that its key is not valid.
func TestRevocationEndsStreams(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	k := newKeys(guard)
	running, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- k.live.Run(running) }()
	conn := serve(t, k, 0, func(ctx context.Context) {
		if err := guard.Revoke(ctx, created.Token.ID, "leaked"); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a stream that goes on fails the test
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", created.Secret.Reveal())
	if got := outcome(call(ctx, conn, "/plain/stream")); got.Code != contract.Unauthenticated {
		t.Errorf("the stream of a revoked token ended with %+v", got)
	}
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func newKeys(guard *httpkey.Guard) keys {
	return keys{guard: guard, live: streams.New(guard.Store(), nil)}
}

// serve starts a server whose methods call handler, and whose streams send messages. It returns
// a connection to the server.
func serve(t *testing.T, k keys, messages int, handler func(context.Context)) *grpc.ClientConn {
	t.Helper()
	server := newServer(k)
	for _, service := range []string{"plain", "scoped"} {
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: service,
			HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{
				MethodName: "unary",
				Handler: func(_ any, ctx context.Context, _ func(any) error, by grpc.UnaryServerInterceptor) (any, error) {
					info := &grpc.UnaryServerInfo{FullMethod: "/" + service + "/unary"}
					return by(ctx, &emptypb.Empty{}, info, func(ctx context.Context, request any) (any, error) {
						handler(ctx)
						return request, nil
					})
				},
			}},
			Streams: []grpc.StreamDesc{{
				StreamName:    "stream",
				ServerStreams: true,
				Handler: func(_ any, s grpc.ServerStream) error {
					handler(s.Context())
					for range messages {
						if err := s.SendMsg(&emptypb.Empty{}); err != nil {
							return err
						}
					}
					return nil
				},
			}},
		}, nil)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// call calls a method and reads all that it answers.
func call(ctx context.Context, conn *grpc.ClientConn, method string) error {
	if method == "/plain/unary" || method == "/scoped/unary" {
		return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for err == nil {
		err = s.RecvMsg(&emptypb.Empty{})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func outcome(err error) contract.Outcome {
	refused := status.Convert(err)
	if refused.Code() == 0 {
		return contract.Outcome{}
	}
	o := contract.Outcome{Code: uint32(refused.Code()), Message: refused.Message()}
	for _, detail := range refused.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			o.RetryDelay = retry.GetRetryDelay().AsDuration()
		}
	}
	return o
}
