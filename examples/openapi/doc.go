// Package openapi tests that the document openapi.json of the console says what the console does.
// A library that knows OpenAPI 3.1 validates the document, and each request and response of the tests.
package openapi
