// Package redact writes a placeholder in place of secrets and digests.
package redact

import (
	"errors"
	"fmt"
	"io"
)

// Placeholder stands in place of a secret.
const Placeholder = "[REDACTED]"

// Format writes the placeholder, whatever the verb.
func Format(f fmt.State) { _, _ = io.WriteString(f, Placeholder) }

// Text returns the placeholder for an encoder.
func Text() ([]byte, error) { return []byte(Placeholder), nil }

// RefuseUnless returns an error unless the value is empty. An encoder of binary forms would
// show the value, or lose it unnoticed.
func RefuseUnless(isEmpty bool) error {
	if isEmpty {
		return nil
	}
	return errors.New("httpkey: a Secret or a Digest has no binary form: clear it first, or encode its bytes on purpose")
}
