package usage_test

import (
	"testing"

	"github.com/httpkey/httpkey/storetest"
	"github.com/httpkey/httpkey/usage"
)

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(*testing.T) func() usage.Store {
		s := usage.NewMemory()
		return func() usage.Store { return s }
	})
}
