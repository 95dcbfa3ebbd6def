package console

import "net/http"

// refusal is a failure as JSON has it.
type refusal struct {
	Detail string   `json:"detail"`
	Code   string   `json:"code"`
	Errors problems `json:"errors,omitempty"`
	ID     string   `json:"id,omitempty"`
}

// problemDetails is a refusal as RFC 9457 has it. Its type adds nothing to its status, because the
// code tells more.
type problemDetails struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	refusal
}

// writeFailure answers a program with a failure, in the format that it prefers.
func writeFailure(w http.ResponseWriter, r *http.Request, _ Principal, f *failure) {
	f.setHeaders(w.Header())
	plain := refusal{f.detail, f.code, f.fields, f.inTheWay}
	if !prefers(r.Header, "application", "problem+json") {
		writeJSON(w, f.status, "application/json", plain)
		return
	}
	details := problemDetails{"about:blank", http.StatusText(f.status), f.status, plain}
	writeJSON(w, f.status, "application/problem+json", details)
}
