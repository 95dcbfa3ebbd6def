package main

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/streams"
)

// keys has the interceptors of a server whose callers need a key.
type keys struct {
	guard  *httpkey.Guard
	live   *streams.Watcher  // ends streams whose token is revoked or expires
	scopes map[string]string // the scope that a method demands; a method without one needs only a key
}

func (k keys) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	admission, err := k.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(k.guard.NewContext(ctx, admission.Token), request)
}

func (k keys) stream(server any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	admission, err := k.admit(s.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx, stop := k.live.Watch(k.guard.NewContext(s.Context(), admission.Token), admission.Token)
	defer stop()
	err = next(server, &stream{s, ctx, admission})
	if errors.Is(context.Cause(ctx), streams.ErrEnded) {
		return errInvalid
	}
	return err
}

// admit decides on a call. Admit knows no address, so it refuses tokens with Networks.
func (k keys) admit(ctx context.Context, method string) (*httpkey.Admission, error) {
	admission, err := k.guard.Admit(ctx, keyOf(ctx), 1)
	if err != nil {
		return nil, refusal(err)
	}
	if scope, ok := k.scopes[method]; ok && !admission.Grants(scope) {
		return nil, errForbidden
	}
	return admission, nil
}

// keyOf returns the key in the metadata. Several keys together are a malformed one.
func keyOf(ctx context.Context) string {
	found := metadata.ValueFromIncomingContext(ctx, "x-api-key")
	for _, line := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if scheme, key, _ := strings.Cut(line, " "); strings.EqualFold(scheme, "Bearer") {
			found = append(found, key)
		}
	}
	return strings.TrimSpace(strings.Join(found, ", "))
}

// A client must not learn more than these sentences: the text of an [httpkey.Error] is for logs.
var (
	errMissing     = status.Error(codes.Unauthenticated, "Authentication credentials were not provided.")
	errInvalid     = status.Error(codes.Unauthenticated, "Given API token is not valid")
	errForbidden   = status.Error(codes.PermissionDenied, "You do not have permission to perform this action.")
	errUnavailable = status.Error(codes.Unavailable, "Authentication is temporarily unavailable.")
)

func refusal(err error) error {
	var refused httpkey.Error
	switch {
	case errors.Is(err, httpkey.ErrMissingKey):
		return errMissing
	case errors.Is(err, httpkey.ErrInvalidKey):
		return errInvalid
	case errors.Is(err, httpkey.ErrForbidden):
		return errForbidden
	case errors.Is(err, httpkey.ErrThrottled) && errors.As(err, &refused):
		throttled := status.New(codes.ResourceExhausted, "Request was throttled.")
		delay := durationpb.New(refused.Result().RetryAfter)
		if detailed, err := throttled.WithDetails(&errdetails.RetryInfo{RetryDelay: delay}); err == nil {
			throttled = detailed
		}
		return throttled.Err()
	}
	return errUnavailable
}

// stream has the token in its context, and charges each message that its handler sends.
type stream struct {
	grpc.ServerStream
	ctx       context.Context
	admission *httpkey.Admission
}

func (s *stream) Context() context.Context { return s.ctx }

// SendMsg charges but never refuses: a debt delays the next call of the key.
func (s *stream) SendMsg(message any) error {
	if err := s.admission.Charge(s.ctx, 1); err != nil {
		return errUnavailable
	}
	return s.ServerStream.SendMsg(message)
}
