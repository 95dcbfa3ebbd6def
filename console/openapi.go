package console

import (
	_ "embed" // for the document
	"encoding/json"
	"net/http"
)

// openAPI describes the JSON API. A test compares it with the routes, and with every answer of the
// other tests.
//
//go:embed openapi.json
var openAPI []byte

// describeAPI answers with the same document to browsers and to programs.
func describeAPI(*http.Request, Principal) (answer, error) {
	return answer{status: http.StatusOK, value: json.RawMessage(openAPI)}, nil
}
