package console

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// description is the OpenAPI document, as far as the tests look at it.
type description struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
		Schemas    map[string]*schema
	}
}

type operation struct {
	Parameters  []parameter
	RequestBody struct{ Content map[string]content }
	Responses   map[string]response
}

type parameter struct {
	Ref      string `json:"$ref"`
	Name, In string
	Schema   *schema
}

type response struct {
	Ref     string `json:"$ref"`
	Headers map[string]struct {
		Ref      string `json:"$ref"`
		Required bool
	}
	Content map[string]content
}

type content struct{ Schema *schema }

// schema is a JSON Schema, as far as the document needs it.
type schema struct {
	Ref                  string `json:"$ref"`
	AllOf                []*schema
	Type                 any // a name or several
	Enum                 []any
	Const                any
	Required             []string
	Properties           map[string]*schema
	AdditionalProperties any // false, or a schema
	Items                *schema
}

var described = func() (d description) {
	if err := json.Unmarshal(openAPI, &d); err != nil {
		panic(err)
	}
	return d
}()

// operation returns that of a method and a pattern of the routes.
func (d description) operation(method, pattern string) (operation, bool) {
	item, ok := d.Paths[strings.TrimSuffix(pattern, "{$}")]
	text, isThere := item[strings.ToLower(method)]
	if !ok || !isThere {
		return operation{}, false
	}
	var o operation
	if err := json.Unmarshal(text, &o); err != nil {
		panic(err)
	}
	for i, p := range o.Parameters {
		if p.Ref != "" {
			o.Parameters[i] = d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
		}
	}
	for status, r := range o.Responses {
		if r.Ref != "" {
			o.Responses[status] = d.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
		}
	}
	return o, true
}

// resolved returns s without a reference and without allOf.
func (d description) resolved(s *schema) *schema {
	if s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/components/schemas/")
		if d.Components.Schemas[name] == nil {
			panic("the document has no schema " + name)
		}
		return d.resolved(d.Components.Schemas[name])
	}
	if s.AllOf == nil {
		return s
	}
	all := &schema{Type: "object", Properties: make(map[string]*schema)}
	for _, part := range s.AllOf {
		part = d.resolved(part)
		maps.Copy(all.Properties, part.Properties)
		all.Required = append(all.Required, part.Required...)
	}
	return all
}

// mismatches returns where a value differs from a schema. A property that no schema names differs
// too, although JSON Schema would let it pass.
func (d description) mismatches(s *schema, value any, at string) (found []string) {
	s = d.resolved(s)
	if s.Enum != nil && !slices.Contains(s.Enum, value) || s.Const != nil && s.Const != value {
		found = append(found, fmt.Sprintf("%s is %v", at, value))
	}
	if s.Type != nil && !slices.Contains(typesOf(value), fmt.Sprint(s.Type)) && !isOneOf(s.Type, typesOf(value)) {
		return append(found, fmt.Sprintf("%s is %v, want %v", at, value, s.Type))
	}
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			found = append(found, d.mismatches(s.Items, item, fmt.Sprint(at, "[", i, "]"))...)
		}
	case map[string]any:
		if s.Properties == nil && s.AdditionalProperties == nil {
			return found // any object
		}
		for _, name := range s.Required {
			if _, ok := value[name]; !ok {
				found = append(found, at+" has no "+name)
			}
		}
		for name, property := range value {
			of := s.Properties[name]
			if further, ok := s.AdditionalProperties.(map[string]any); ok && of == nil {
				of = &schema{}
				again, _ := json.Marshal(further)
				_ = json.Unmarshal(again, of)
			}
			if of == nil {
				found = append(found, at+" has "+name)
				continue
			}
			found = append(found, d.mismatches(of, property, at+"."+name)...)
		}
	}
	return found
}

// typesOf returns the names that JSON Schema has for the type of a value.
func typesOf(value any) []string {
	switch value := value.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case string:
		return []string{"string"}
	case float64:
		if value == math.Trunc(value) {
			return []string{"integer", "number"}
		}
		return []string{"number"}
	case []any:
		return []string{"array"}
	}
	return []string{"object"}
}

func isOneOf(wanted any, types []string) bool {
	names, _ := wanted.([]any)
	return slices.ContainsFunc(names, func(name any) bool { return slices.Contains(types, name.(string)) })
}

// seen are the codes in the answers of all tests: of errors, and of their fields.
var seen = struct {
	sync.Mutex
	codes, fieldCodes map[string]bool
}{codes: make(map[string]bool), fieldCodes: make(map[string]bool)}

// checkDescription compares a request in JSON and its answer with the document.
func (s *site) checkDescription(r *http.Request, body string, w *httptest.ResponseRecorder) {
	s.Helper()
	contentType := w.Header().Get("Content-Type")
	isJSON := contentType == "application/json" || contentType == "application/problem+json"
	if r.Method == http.MethodHead || !isJSON && w.Code != http.StatusNoContent {
		return
	}
	name := fmt.Sprintf("%s %s: %d", r.Method, r.URL, w.Code)
	o, isDescribed := described.operation(r.Method, r.Pattern)
	isDescribed = isDescribed && r.Pattern != "/" // of paths that there are not
	as := &schema{Ref: "#/components/schemas/Error"}
	if contentType == "application/problem+json" {
		as.Ref = "#/components/schemas/Problem"
	}
	if isDescribed {
		answer, ok := o.Responses[fmt.Sprint(w.Code)]
		if !ok {
			s.Errorf("%s is not described", name)
		}
		for header, h := range answer.Headers {
			if w.Header().Get(header) == "" && (h.Required || header == "ETag" || header == "Retry-After") {
				s.Errorf("%s has no %s", name, header)
			}
		}
		as = answer.Content[contentType].Schema
		if sent := o.RequestBody.Content["application/json"].Schema; sent != nil && w.Code < 300 {
			s.checkSchema(name+" for", sent, []byte(body))
		}
	}
	switch {
	case as != nil:
		s.checkSchema(name, as, w.Body.Bytes())
	case w.Body.Len() > 0:
		s.Errorf("%s has a body that is not described: %s", name, w.Body)
	}
	if w.Code >= 400 {
		note(s, w)
	}
}

func (s *site) checkSchema(name string, as *schema, text []byte) {
	s.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		s.Errorf("%s: %v in %s", name, err, text)
	}
	for _, mismatch := range described.mismatches(as, value, "the body") {
		s.Errorf("%s: %s", name, mismatch)
	}
}

// note collects the codes of a refusal.
func note(s *site, w *httptest.ResponseRecorder) {
	var refusal struct {
		Code   string
		Errors map[string][]struct{ Code string }
	}
	decode(s, w, &refusal)
	seen.Lock()
	defer seen.Unlock()
	seen.codes[refusal.Code] = true
	for _, problems := range refusal.Errors {
		for _, p := range problems {
			seen.fieldCodes[p.Code] = true
		}
	}
}

// TestMain looks for codes that are described and that no test has seen, after all tests have run.
// A code that a test has seen and that is not described is an error of that test.
func TestMain(m *testing.M) {
	status := m.Run()
	if status == 0 && isWholeRun() {
		for name, codes := range map[string]map[string]bool{"ErrorCode": seen.codes, "FieldErrorCode": seen.fieldCodes} {
			for _, code := range described.Components.Schemas[name].Enum {
				if !codes[code.(string)] {
					fmt.Printf("no test has seen the %s %s\n", name, code)
					status = 1
				}
			}
		}
	}
	os.Exit(status)
}

// isWholeRun reports whether go test runs all tests of the package.
func isWholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return !testing.Short()
}

// Every route of the JSON API is described, with its methods and its query, and nothing else is.
func TestEveryRouteIsDescribed(t *testing.T) {
	t.Parallel()
	routes := (&console{}).routes()
	want, got := make(map[string][]string), make(map[string][]string)
	for pattern, route := range routes {
		if _, redirects := routes[pattern+"/{$}"]; redirects {
			continue // to the path with a slash
		}
		for method := range route.api {
			var query []string
			if method == http.MethodGet {
				query = slices.Sorted(slices.Values(route.query))
			}
			want[method+" "+strings.TrimSuffix(pattern, "{$}")] = query
		}
	}
	for path, item := range described.Paths {
		for method := range item {
			if method == "parameters" { // of all methods
				continue
			}
			o, _ := described.operation(method, path)
			var query []string
			for _, p := range o.Parameters {
				if p.In == "query" {
					query = append(query, p.Name)
				}
			}
			slices.Sort(query)
			got[strings.ToUpper(method)+" "+path] = query
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("described are\n%v\nand the console has\n%v", got, want)
	}
	if described.OpenAPI != "3.1.0" {
		t.Errorf("the version is %q", described.OpenAPI)
	}
}

// The document has the properties of the Go types, and no others.
func TestPropertiesAreDescribed(t *testing.T) {
	t.Parallel()
	limits := []httpkey.Limit{{Name: "x", Rate: 1, Burst: 1, Period: 1}, {Rate: 1, Calendar: "day", DryRun: true}}
	for name, value := range map[string]any{
		"Token":         resource{further: effective{}},
		"WatchedToken":  resource{further: watched{}},
		"CreatedToken":  resource{secret: "x", further: effective{}},
		"TokenList":     tokenList{},
		"RevokedTokens": revoked{},
		"Remaining":     remaining{},
		"Error":         refusal{Errors: problems{"x": nil}, ID: "x"},
		"Problem":       problemDetails{refusal: refusal{Errors: problems{"x": nil}, ID: "x"}},
		"FieldError":    problem{},
		"Usage":         usageObject{LastClient: &clientObject{}},
		"Client":        clientObject{},
		"UsageInterval": usage.Interval{Counts: usage.Counts{Reasons: map[httpkey.Reason]int64{"x": 1}}},
	} {
		assertDescribed(t, name, value)
	}
	assertDescribed(t, "Limit", limits[0], limits[1])
}

// assertDescribed compares the properties of a schema with those of values, together.
func assertDescribed(t *testing.T, name string, values ...any) {
	t.Helper()
	want := make(map[string]any)
	for _, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
	}
	got := described.resolved(described.Components.Schemas[name]).Properties
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Errorf("%s is described with\n%v\nand has\n%v", name, a, b)
	}
}

// The console knows every field of a request that is described, and says so of no other.
func TestFieldsOfRequestsAreDescribed(t *testing.T) {
	t.Parallel()
	for pattern, route := range (&console{}).routes() {
		for method := range route.api {
			o, ok := described.operation(method, pattern)
			sent := o.RequestBody.Content["application/json"].Schema
			if !ok || sent == nil {
				continue
			}
			for field := range described.resolved(sent).Properties {
				s := newSite(t, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				path := strings.NewReplacer("{$}", "", "{id}", "id").Replace(pattern)
				body := s.api("ada", method, path, `{"`+field+`":[{}],"no_such_field":1}`).Body.String()
				if !strings.Contains(body, `"no_such_field":[{"code":"unknown"`) || !strings.Contains(body, `"`+field+`":[{`) ||
					strings.Contains(body, `"`+field+`":[{"code":"unknown"`) || strings.Contains(body, "read_only") {
					t.Errorf("%s %s with %s: %s", method, pattern, field, body)
				}
			}
		}
	}
}

// The package documentation has the same codes as the document, and with the same statuses.
func TestCodesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, errors, _ := strings.Cut(string(text), "// # Errors\n")
	errors, _, _ = strings.Cut(errors, "// # ")
	got := make(map[string][]string)
	for _, line := range regexp.MustCompile(`(?m)^//\t(?:(\d{3})  )?([a-z_]+) {2,}\w`).FindAllStringSubmatch(errors, -1) {
		name := "ErrorCode"
		if line[1] == "" {
			name = "FieldErrorCode"
		}
		got[name] = append(got[name], line[2])
	}
	for _, name := range []string{"ErrorCode", "FieldErrorCode"} {
		var want []string
		for _, code := range described.Components.Schemas[name].Enum {
			want = append(want, code.(string))
		}
		slices.Sort(got[name])
		if !slices.Equal(got[name], want) {
			t.Errorf("the documentation has the codes\n%v\nand the document\n%v", got[name], want)
		}
	}
}

// The document is the same for browsers and for programs, and needs a login.
func TestDescriptionIsServed(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	var want, got any
	if err := json.Unmarshal(openAPI, &want); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*httptest.ResponseRecorder{
		s.api("ada", "GET", "/openapi.json", ""), s.page("ada", "/openapi.json"),
	} {
		decode(t, s.want(200, w), &got)
		if !reflect.DeepEqual(got, want) || w.Header().Get("Content-Type") != "application/json" ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("answered %v %s", w.Header(), w.Body)
		}
	}
	s.want(401, s.api("", "GET", "/openapi.json", ""))
}
