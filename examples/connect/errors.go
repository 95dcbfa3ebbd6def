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

// A client must not learn more than these sentences: the text of an [httpkey.Error] is for logs.
var (
	errMissing     = errors.New("Authentication credentials were not provided.")
	errInvalid     = errors.New("Given API token is not valid")
	errForbidden   = errors.New("You do not have permission to perform this action.")
	errThrottled   = errors.New("Request was throttled.")
	errUnavailable = errors.New("Authentication is temporarily unavailable.")
)

func refusal(e httpkey.Error) *connect.Error {
	switch {
	case errors.Is(e, httpkey.ErrMissingKey):
		return connect.NewError(connect.CodeUnauthenticated, errMissing)
	case errors.Is(e, httpkey.ErrInvalidKey):
		return connect.NewError(connect.CodeUnauthenticated, errInvalid)
	case errors.Is(e, httpkey.ErrForbidden):
		return connect.NewError(connect.CodePermissionDenied, errForbidden)
	case errors.Is(e, httpkey.ErrThrottled):
		throttled := connect.NewError(connect.CodeResourceExhausted, errThrottled)
		delay := durationpb.New(e.Result().RetryAfter)
		if detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: delay}); err == nil {
			throttled.AddDetail(detail)
		}
		return throttled
	}
	return connect.NewError(connect.CodeUnavailable, errUnavailable)
}
