package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
)

// protocols are those in which a client may call.
var protocols = map[string][]connect.ClientOption{
	"Connect":  nil,
	"gRPC":     {connect.WithGRPC()},
	"gRPC-Web": {connect.WithGRPCWeb()},
}

func TestContract(t *testing.T) {
	t.Parallel()
	opts := &httpkey.Options{ErrorHandler: writeError}
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contract.RunRPC(t, opts, func(t *testing.T, guard *httpkey.Guard, handler func(context.Context)) contract.RPC {
				client, url := serve(t, guard.Handler(router(handler)))
				calls := make(contract.RPC)
				for name, path := range map[string]string{"plain unary": "/plain/unary", "scoped unary": "/scoped/unary"} {
					c := connect.NewClient[emptypb.Empty, emptypb.Empty](client, url+path, protocol...)
					calls[name] = func(ctx context.Context, keys ...string) contract.Outcome {
						_, err := c.CallUnary(ctx, request(keys))
						return outcome(err)
					}
				}
				for name, path := range map[string]string{"plain stream": "/plain/stream", "scoped stream": "/scoped/stream"} {
					c := connect.NewClient[emptypb.Empty, emptypb.Empty](client, url+path, protocol...)
					calls[name] = func(ctx context.Context, keys ...string) contract.Outcome {
						stream, err := c.CallServerStream(ctx, request(keys))
						if err == nil {
							err = drain(stream)
						}
						return outcome(err)
					}
				}
				return calls
			})
		})
	}
}

// router has methods that call handler.
func router(handler func(context.Context)) http.Handler {
	unary := connect.NewUnaryHandler("/unary",
		func(ctx context.Context, r *connect.Request[emptypb.Empty]) (*connect.Response[emptypb.Empty], error) {
			handler(ctx)
			return connect.NewResponse(r.Msg), nil
		})
	stream := connect.NewServerStreamHandler("/stream",
		func(ctx context.Context, r *connect.Request[emptypb.Empty], s *connect.ServerStream[emptypb.Empty]) error {
			handler(ctx)
			return s.Send(r.Msg)
		})
	scoped := httpkey.RequireScope("write")
	mux := http.NewServeMux()
	mux.Handle("/plain/unary", unary)
	mux.Handle("/plain/stream", stream)
	mux.Handle("/scoped/unary", scoped(unary))
	mux.Handle("/scoped/stream", scoped(stream))
	return mux
}

// serve starts a server of HTTP/2, which gRPC needs.
func serve(t *testing.T, handler http.Handler) (client *http.Client, url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Client(), server.URL
}

func request(keys []string) *connect.Request[emptypb.Empty] {
	r := connect.NewRequest(&emptypb.Empty{})
	r.Header()["X-Api-Key"] = keys
	return r
}

func drain[T any](stream *connect.ServerStreamForClient[T]) error {
	for stream.Receive() {
	}
	return errors.Join(stream.Err(), stream.Close())
}

func outcome(err error) contract.Outcome {
	if err == nil {
		return contract.Outcome{}
	}
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return contract.Outcome{Code: uint32(connect.CodeUnknown), Message: err.Error()}
	}
	o := contract.Outcome{Code: uint32(refused.Code()), Message: refused.Message()}
	for _, detail := range refused.Details() {
		value, _ := detail.Value()
		if retry, ok := value.(*errdetails.RetryInfo); ok {
			o.RetryDelay = retry.GetRetryDelay().AsDuration()
		}
	}
	return o
}

// The program greets its caller, and charges for the start of a stream and for each message.
func TestProgram(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, &httpkey.Options{ErrorHandler: writeError})
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ada", Scopes: []string{"reports:read"}}).Secret.Reveal()
	client, url := serve(t, routes(guard))
	greeting, err := connect.NewClient[emptypb.Empty, wrapperspb.StringValue](client, url+me).
		CallUnary(t.Context(), request([]string{key}))
	if err != nil || greeting.Msg.GetValue() != "Hello ada" {
		t.Fatalf("%v, %v", greeting, err)
	}
	if got := greeting.Header().Get("X-RateLimit-Remaining"); got != "59" {
		t.Errorf("X-RateLimit-Remaining: %q, want 59", got)
	}
	stream, err := connect.NewClient[emptypb.Empty, wrapperspb.StringValue](client, url+reports).
		CallServerStream(t.Context(), request([]string{key}))
	if err != nil {
		t.Fatal(err)
	}
	if err := drain(stream); err != nil {
		t.Fatal(err)
	}
	seen, err := guard.Admit(t.Context(), key, 0)
	if err != nil || seen.Result.Remaining != 60-1-1-2 {
		t.Errorf("a call and a stream of two messages left %d of 60 (%v)", seen.Result.Remaining, err)
	}
}

// A client that calls no procedure is answered as by every API with keys.
func TestOtherClients(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, &httpkey.Options{ErrorHandler: writeError})
	w := httptest.NewRecorder()
	routes(guard).ServeHTTP(w, httptest.NewRequest(http.MethodPut, me, nil))
	if w.Code != http.StatusUnauthorized || w.Body.String() != contract.Missing {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
