// Package properties writes the fields of a value as a JSON object, and preserves unknown
// properties: those of a later version.
package properties

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
)

// Fields are pointers to the known fields, by the names of their properties.
type Fields map[string]any

// Write returns a JSON object of the fields that are not empty and of the unknown properties
// that Read returned. The text is empty if there are none.
func (f Fields) Write(unknown string) (string, error) {
	properties, err := parse(unknown)
	if err != nil {
		return "", err
	}
	for name, field := range f {
		value := reflect.ValueOf(field).Elem()
		if isEmpty(value) {
			continue
		}
		if properties[name], err = json.Marshal(value.Interface()); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return text(properties)
}

// Read sets the fields, which are zero, from a JSON object. It returns an object of the
// unknown properties. It compares names byte by byte, whereas encoding/json folds their case.
func (f Fields) Read(object string) (unknown string, err error) {
	properties, err := parse(object)
	if err != nil {
		return "", err
	}
	for name, value := range properties {
		if field, known := f[name]; known {
			if err := json.Unmarshal(value, field); err != nil {
				return "", fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	maps.DeleteFunc(properties, func(name string, _ json.RawMessage) bool { return f[name] != nil })
	return text(properties)
}

// OrNull returns a pointer to value, or nil for a zero value, which JSON writes as null.
func OrNull[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

func isEmpty(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Slice, reflect.Map:
		return value.Len() == 0
	default:
		return value.IsZero()
	}
}

func parse(object string) (map[string]json.RawMessage, error) {
	properties := make(map[string]json.RawMessage)
	if object == "" {
		return properties, nil
	}
	err := json.Unmarshal([]byte(object), &properties)
	if properties == nil { // null
		properties = make(map[string]json.RawMessage)
	}
	return properties, err
}

func text(properties map[string]json.RawMessage) (string, error) {
	if len(properties) == 0 {
		return "", nil
	}
	object, err := json.Marshal(properties)
	return string(object), err
}
