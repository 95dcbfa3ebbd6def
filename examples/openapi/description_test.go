package openapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// description is the document of a console, which knows what was compared with it.
type description struct {
	validator.Validator
	document *v3.Document
	met      map[string]bool // by operation and status: "GET /{id}/ 404"
}

// describe reads the document of a console.
func describe(t *testing.T, console http.Handler) *description {
	t.Helper()
	w := httptest.NewRecorder()
	console.ServeHTTP(w, request{login: "ada", method: http.MethodGet, path: "/openapi.json"}.http())
	document, err := libopenapi.NewDocument(w.Body.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, w.Body)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	v, problems := validator.NewValidator(document,
		config.WithFormatAssertions(),
		config.WithStrictMode(), // refuses what the document does not name
		config.WithStrictIgnoredHeadersExtra("login", "sec-fetch-site", // of the requests here, and of every response:
			"content-security-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy",
			"x-content-type-options"),
		config.WithStrictIgnorePaths("$.body.errors.*", "$.body.**.reasons.*", // which have any name
			"$.body.openapi", "$.body.info", "$.body.servers", "$.body.tags", "$.body.paths", "$.body.components"),
	)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &description{v, &model.Model, make(map[string]bool)}
}

// operations returns what the document describes: "GET /{id}/" and others.
func (d *description) operations() (names []string) {
	for path, item := range d.document.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().FromOldest() {
			names = append(names, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(names)
	return names
}

// statuses returns those of an operation.
func (d *description) statuses(operation string) (statuses []string) {
	method, path, _ := strings.Cut(operation, " ")
	item := d.document.Paths.PathItems.GetOrZero(path)
	for status := range item.GetOperations().GetOrZero(strings.ToLower(method)).Responses.Codes.FromOldest() {
		statuses = append(statuses, status)
	}
	return statuses
}

// compare reports how a response differs from the document, and how the request does if it
// succeeded.
func (d *description) compare(t *testing.T, operation string, r request, a answer) {
	t.Helper()
	d.met[fmt.Sprintf("%s %d", operation, a.status)] = true
	if a.status < 300 {
		if ok, problems := d.ValidateHttpRequestSync(r.http()); !ok {
			t.Errorf("the request %s %s%s", r.method, r.path, text(problems))
		}
	}
	if problems := d.differences(r, a); problems != "" {
		t.Errorf("the response %d to %s %s%s", a.status, r.method, r.path, problems)
	}
}

// differences returns how a response differs from the document.
func (d *description) differences(r request, a answer) string {
	_, problems := d.ValidateHttpResponse(r.http(), &http.Response{
		StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)),
	})
	return text(problems)
}

func text(problems []*errors.ValidationError) string {
	var text strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&text, "\n%s: %s", p.Message, p.Reason)
		for _, failure := range p.SchemaValidationErrors {
			fmt.Fprintf(&text, "\n\t%s: %s", failure.FieldPath, failure.Reason)
		}
	}
	return text.String()
}
