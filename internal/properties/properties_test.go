package properties_test

import (
	"math"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/internal/properties"
)

type value struct {
	Name  string
	Tags  []string
	Marks map[string]int
	Ratio float64
	Due   *int
}

func (v *value) fields() properties.Fields {
	return properties.Fields{"name": &v.Name, "tags": &v.Tags, "marks": &v.Marks, "ratio": &v.Ratio, "due": &v.Due}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	zero := 0
	for _, tt := range []struct {
		value         value
		unknown, want string
	}{
		{value{}, "", ""},
		{value{Tags: []string{}, Marks: map[string]int{}}, "", ""},
		{value{Name: "n", Tags: []string{"b", "a"}}, "", `{"name":"n","tags":["b","a"]}`},
		{value{Due: &zero}, "", `{"due":0}`}, // a pointer to zero is something
		{value{Marks: map[string]int{"z": 1, "a": 2}}, `{"later":1.50}`, `{"later":1.50,"marks":{"a":2,"z":1}}`},
		{value{}, `{"later":{"b":1,"a":2}}`, `{"later":{"b":1,"a":2}}`},
	} {
		if got, err := tt.value.fields().Write(tt.unknown); err != nil || got != tt.want {
			t.Errorf("%+v and %s: Write returned %s, %v, want %s", tt.value, tt.unknown, got, err, tt.want)
		}
	}
	nan := value{Ratio: math.NaN()}
	if got, err := nan.fields().Write(`{"later":1}`); err == nil || !strings.Contains(err.Error(), "ratio") || got != "" {
		t.Errorf("of what is no JSON, Write returned %s, %v", got, err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, unknown, again string }{
		{"", "", ""},
		{"null", "", ""},
		{"{}", "", ""},
		{`{"name":"n","later":[1, 2.50]}`, `{"later":[1,2.50]}`, `{"later":[1,2.50],"name":"n"}`},
		{`{"NAME":"n","Tags":5}`, `{"NAME":"n","Tags":5}`, `{"NAME":"n","Tags":5}`},
		{`{"name":"","tags":[]}`, "", ""},
		{`{"z":1,"a":null}`, `{"a":null,"z":1}`, `{"a":null,"z":1}`},
	} {
		var read value
		unknown, err := read.fields().Read(tt.text)
		if err != nil || unknown != tt.unknown {
			t.Errorf("%s: Read returned %s, %v, want %s", tt.text, unknown, err, tt.unknown)
		}
		if again, err := read.fields().Write(unknown); err != nil || again != tt.again {
			t.Errorf("%s: Write returned %s, %v, want %s", tt.text, again, err, tt.again)
		}
	}
	for _, bad := range []string{"x", "[]", "5", `{"tags":"t"}`, `{"a":1}{`} {
		if unknown, err := new(value).fields().Read(bad); err == nil || unknown != "" {
			t.Errorf("%s: Read returned %s, %v", bad, unknown, err)
		}
	}
}
