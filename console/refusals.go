package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// The refusals of the console: every code for programs stands here, with its sentences for people. The
// package documentation and openapi.json list the codes. The pages have sentences of their own.

var (
	errNoLogin = &failure{
		status: http.StatusUnauthorized, code: "not_authenticated", detail: "Authentication credentials were not provided.",
	}
	errCrossOrigin = &failure{
		status: http.StatusForbidden, code: "cross_site", detail: "The request comes from another site.",
	}
	errNotFound = &failure{
		status: http.StatusNotFound, code: "not_found", detail: "Not found.",
	}
	errNobodysKey = &failure{
		status: http.StatusNotFound, code: "not_found", detail: "No token of yours has this key.",
	}
	errWholeKey = &failure{
		status: http.StatusBadRequest, code: "whole_key",
		detail: "This looks like a whole key. A search would leave it in logs. Look for it here instead.",
	}
	errTooLarge = &failure{
		status: http.StatusRequestEntityTooLarge, code: "too_large", detail: "The request body is larger than 65536 bytes.",
	}
	errUnavailable = &failure{
		status: http.StatusServiceUnavailable, code: "unavailable", retryAfter: time.Second,
		detail: "API tokens are temporarily unavailable. Try again.",
	}
)

// The request cannot be read.
var (
	errUnreadableBody  = malformed("The request body could not be read.")
	errUnreadableForm  = malformed("The form could not be read.")
	errUnreadableQuery = malformed("The query cannot be read.")
	errIncompleteForm  = malformed("The form is incomplete. Open it anew.")
	errNoObject        = malformed("The request body is not a JSON object.")
	errIfMatch         = malformed("The If-Match header must be a list of entity tags, or *.")
	errIdempotencyKey  = malformed("The Idempotency-Key must have from 1 to 255 visible characters of ASCII.")
	errNoSuchToken     = malformed("No token can have these properties.")
)

// The person has no right to it.
var (
	errMayNotCreateService = forbidden("You may not create service tokens.")
	errMayNotCreateThere   = forbidden("You may not create tokens in this workspace.")
	errMayNotCreateForThem = forbidden("You may not create tokens for another person.")
	errMayNotGiveScopes    = forbidden("You may not create tokens with scopes that you do not have.")
	errMayNotRotateTheirs  = forbidden("You may not rotate another person's token, " +
		"as you would see a key that acts for them. Revoke it instead.")
	errMayNotRotateScopes = forbidden("You may not rotate a token with scopes that you do not have.")
	errMayNotRotateAgain  = forbidden("You may not rotate this token again, as you may not create one like it.")
	errMayNotRevokeTheirs = forbidden("You may not revoke the tokens of this user.")
	errMayOnlyShorten     = forbidden("You may only shorten the life of this token, as you may not create one like it.")
	errMayNotOutliveOld   = forbidden("The new key may not live longer than the old one, " +
		"as you may not create a token like this.")
)

// The state of the token forbids it.
var (
	errChanged = conflict("changed", "Somebody else has changed this token meanwhile. Look at it again.", "")
	errEnded   = conflict("ended", "The expiry of a token that is revoked or expired cannot be changed. "+
		"Create a new one.", "")
	errStaysRevoked = conflict("ended", "A revoked token cannot be made active again. Create a new one.", "")
	errRotatesEnded = conflict("ended", "A token that is revoked or expired cannot be rotated. Create a new one.", "")
)

func malformed(detail string) error {
	return &failure{status: http.StatusBadRequest, code: "malformed", detail: detail}
}

func forbidden(detail string) error {
	return &failure{status: http.StatusForbidden, code: "forbidden", detail: detail}
}

// notYours is errNotFound, and remembers the token for the audit.
func notYours(t httpkey.Token) error {
	f := *errNotFound
	f.token = t
	return &f
}

func unsupported(accept []string) error {
	return &failure{
		status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", accept: accept,
		detail: "The Content-Type must be " + strings.Join(accept, " or ") + ".",
	}
}

func preconditionFailed(version string) error {
	return &failure{
		status: http.StatusPreconditionFailed, code: "precondition_failed", version: version,
		detail: "The token has another version than If-Match names. Get it again.",
	}
}

func conflict(code, detail, inTheWay string) error {
	return &failure{status: http.StatusConflict, code: code, detail: detail, inTheWay: inTheWay}
}

// codeTooManyTokens is that of a conflict that its person may end by revoking another token.
const codeTooManyTokens = "too_many_tokens"

func tooManyTokens(n int) error {
	return conflict(codeTooManyTokens, fmt.Sprintf("The most tokens that may work at once: %d. "+
		"Revoke those that nothing uses.", n), "")
}

func rotatedAlready(successor string) error {
	return conflict("rotated", "This token was rotated already. Rotate its successor.", successor)
}

func prolongsRotated(successor string) error {
	return conflict("rotated", "This token was rotated: it cannot be made to live longer.", successor)
}

// createdAlready has the path of the token relative to that of the list, where tokens are created.
func createdAlready(id string) error {
	return &failure{
		status: http.StatusConflict, code: "created_already", inTheWay: id, location: "./" + pathOf(id) + "/",
		detail: "This token was created already. Its key was shown then and cannot be shown again.",
	}
}

func notAllowed(method string, allow []string) error {
	return &failure{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed", allow: allow,
		detail: "Method \"" + method + "\" not allowed.",
	}
}

func throttled(retryAfter time.Duration) error {
	seconds, unit := wholeSeconds(retryAfter), "seconds"
	if seconds == 1 {
		unit = "second"
	}
	return &failure{
		status: http.StatusTooManyRequests, code: "throttled", retryAfter: retryAfter,
		detail: fmt.Sprintf("Request was throttled. Expected available in %d %s.", seconds, unit),
	}
}

// invalid has the problems of fields.
func invalid(fields problems) error {
	return &failure{
		status: http.StatusBadRequest, code: "invalid", detail: "The request has fields that cannot be used.", fields: fields,
	}
}

// These problems are the same for every field.
var (
	blank             = problem{Code: "blank", Text: "This field may not be blank."}
	invisible         = problem{Code: "invisible", Text: "This field needs a character that people can see."}
	invalidText       = problem{Code: "invalid_text", Text: "Not a valid string."}
	controlCharacter  = problem{Code: "control_character", Text: "Control characters are not allowed."}
	null              = problem{Code: "null", Text: "This field may not be null."}
	required          = problem{Code: "required", Text: "This field is required."}
	requiredWorkspace = problem{Code: "required", Text: "A service token needs a workspace, which owns it."}
	requiredExpiry    = problem{Code: "required", Text: "Choose when the token expires."}
	requiredDay       = problem{Code: "required", Text: "Choose the day on which the token expires."}
	requiredGrace     = problem{Code: "required", Text: "Choose how long the old key goes on working."}
	requiredTokens    = problem{Code: "required", Text: "Select at least one token."}
	tokensAndUser     = problem{Code: "contradiction", Text: "Give either tokens or a user."}
	twoExpiries       = problem{
		Code: "contradiction", Text: "You chose a day, and another expiry as well. Choose one of them.",
	}
	past              = problem{Code: "past", Text: "The expiry must be in the future."}
	unknownField      = problem{Code: "unknown", Text: "Unknown field."}
	unknownParameter  = problem{Code: "unknown", Text: "Unknown parameter."}
	repeated          = problem{Code: "repeated", Text: "This parameter may not be repeated."}
	readOnly          = problem{Code: "read_only", Text: "This field cannot be set."}
	withoutRevocation = problem{Code: "without_revocation", Text: "This field needs is_active false."}
	invalidCursor     = problem{Code: "invalid_cursor", Text: "Invalid cursor."}
	otherName         = problem{Code: "other_name", Text: "This is not the name of the token."}

	notText    = problem{Code: "wrong_type", Text: "Not a valid string."}
	notTexts   = problem{Code: "wrong_type", Text: "Not a list of strings."}
	notBoolean = problem{Code: "wrong_type", Text: "Must be a valid boolean."}
	notInteger = problem{Code: "wrong_type", Text: "A valid integer is required."}
	notTime    = problem{
		Code: "wrong_type", Text: "Datetime has wrong format. Use RFC 3339, as in 2027-01-31T12:00:00Z, or null.",
	}
)

func noChoice(value string) problem {
	return problem{Code: "no_choice", Text: fmt.Sprintf("%q is not a valid choice.", value)}
}

func tooLong(most int) problem {
	return problem{Code: "too_long", N: most, Text: fmt.Sprintf("Ensure this field has no more than %d characters.", most)}
}

func tooMany(most int) problem {
	return problem{Code: "too_many", N: most, Text: fmt.Sprintf("Ensure this field has no more than %d elements.", most)}
}

func notUpTo(seconds int) problem {
	const text = "Ensure this value is from 0 to %d seconds."
	return problem{Code: "out_of_range", N: seconds, Text: fmt.Sprintf(text, seconds)}
}

func notFromOneTo(most int) problem {
	return problem{Code: "out_of_range", N: most, Text: fmt.Sprintf("A whole number from 1 to %d is required.", most)}
}

func mustExpire(latest time.Time) problem {
	return problem{
		Code: "required", Text: "A token may not live for ever. Give a time no later than " + instant(latest) + ".",
	}
}

func tooLate(latest time.Time) problem {
	return problem{Code: "too_late", Text: "The expiry must be no later than " + instant(latest) + "."}
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
