package main

import (
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/httpkey/httpkey"
)

var writer = connect.NewErrorWriter()

// writeError refuses a call in the protocol of its caller, for the Guard and the Require functions.
// Without it, a caller of gRPC would take a 429 for Unavailable, and try again at once.
//
// An interceptor would do as well, but it runs when the request has been read and decoded, knows
// no address, and sets no rate-limit headers.
func writeError(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
	if !writer.IsSupported(r) {
		httpkey.WriteError(w, r, e)
		return
	}
	_ = writer.Write(w, r, refusal(e)) // an error means that the client has gone
}

// refusal returns what a client may learn: the text of an [httpkey.Error] is for logs.
func refusal(e httpkey.Error) *connect.Error {
	switch {
	case errors.Is(e, httpkey.ErrMissingKey):
		return newError(connect.CodeUnauthenticated, "Authentication credentials were not provided.")
	case errors.Is(e, httpkey.ErrInvalidKey):
		return newError(connect.CodeUnauthenticated, "Given API token is not valid")
	case errors.Is(e, httpkey.ErrForbidden):
		return newError(connect.CodePermissionDenied, "You do not have permission to perform this action.")
	case errors.Is(e, httpkey.ErrThrottled):
		throttled := newError(connect.CodeResourceExhausted, "Request was throttled.")
		delay := durationpb.New(e.Result().RetryAfter)
		if detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: delay}); err == nil {
			throttled.AddDetail(detail)
		}
		return throttled
	}
	return newError(connect.CodeUnavailable, "Authentication is temporarily unavailable.")
}

func newError(code connect.Code, sentence string) *connect.Error {
	return connect.NewError(code, errors.New(sentence))
}
