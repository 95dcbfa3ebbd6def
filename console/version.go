package console

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/httpkey/httpkey"
)

// versionOf names the state of t that people change. A use of the key leaves it as it is.
func versionOf(t httpkey.Token) string {
	t.LastUsed = time.Time{}
	text, err := json.Marshal(t)
	if err != nil {
		return "" // a year of five digits, which Validate refuses
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}
