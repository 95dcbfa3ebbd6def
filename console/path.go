package console

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// pathOf returns the segment of a URL that names an ID. Proxies decode and merge what is not plain,
// so an ID with other characters is written in base64url behind a "~".
func pathOf(id string) string {
	if isPlain(id) {
		return id
	}
	return "~" + base64.RawURLEncoding.EncodeToString([]byte(id))
}

// isPlain reports whether an ID can stand in a path as it is. One with a dot at its beginning could
// be a dot segment.
func isPlain(id string) bool {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	return id != "" && id[0] != '.' && strings.Trim(id, plain) == ""
}

// tokenID returns the ID in the path of r. A client may also write it with percent signs.
func tokenID(r *http.Request) string {
	segment := r.PathValue("id")
	if encoded, ok := strings.CutPrefix(segment, "~"); ok {
		if id, err := base64.RawURLEncoding.DecodeString(encoded); err == nil {
			return string(id)
		}
	}
	return segment
}
