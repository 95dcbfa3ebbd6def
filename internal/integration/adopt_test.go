package integration

import (
	"os"
	"os/exec"
	"testing"
)

// The example whose keys were in MySQL works there: its tests by themselves use SQLite.
func testAdoptExample(t *testing.T, b *sqlBackend) {
	if b.driver != "mysql" {
		t.Skip("the example had its keys in MySQL")
	}
	command := exec.Command("go", "test", "-count=1", "./adopt/keyid")
	command.Dir = "../../examples"
	command.Env = append(os.Environ(), "HTTPKEY_MYSQL="+b.dsn(t))
	mustRun(t, command)
}
