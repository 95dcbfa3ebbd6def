// Package integration tests httpkey with real servers, which its tests start on free
// ports of the loopback interface and end. A test whose server is not installed is skipped and
// says which Debian package has it, or fails where REQUIRE_TOOLS is set.
//
//	go test ./internal/integration   (in this module; or make integration)
package integration
