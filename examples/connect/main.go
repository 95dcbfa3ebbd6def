// Command connect puts httpkey in front of a Connect server, for callers of Connect, gRPC and
// gRPC-Web.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func main() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{ErrorHandler: writeError})
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ada", Scopes: []string{"reports:read"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -i --json '{}' -H 'X-Api-Key: %s' http://127.0.0.1:8080%s\n", created.Secret.Reveal(), me)
	server := http.Server{Addr: "127.0.0.1:8080", Handler: routes(guard), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // for gRPC
	log.Fatal(server.ListenAndServe())
}

// The procedures, which a program takes from its generated code.
const (
	me      = "/demo.Users/Me"
	reports = "/demo.Reports/List"
)

func routes(guard *httpkey.Guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(me, connect.NewUnaryHandler(me, greet))
	mux.Handle(reports, httpkey.RequireScope("reports:read")(connect.NewServerStreamHandler(reports, list)))
	return guard.Handler(mux)
}

func greet(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.StringValue], error) {
	token, _ := httpkey.FromContext(ctx)
	return connect.NewResponse(wrapperspb.String("Hello " + token.User)), nil
}

// list charges each message. The charge never refuses: a debt delays the next call of the key.
func list(
	ctx context.Context, _ *connect.Request[emptypb.Empty], stream *connect.ServerStream[wrapperspb.StringValue],
) error {
	admission, _ := httpkey.AdmissionFrom(ctx)
	for _, name := range []string{"sales", "returns"} {
		if err := admission.Charge(ctx, 1); err != nil {
			return connect.NewError(connect.CodeUnavailable, nil) // the text of err is not for clients
		}
		if err := stream.Send(wrapperspb.String(name)); err != nil {
			return err
		}
	}
	return nil
}
