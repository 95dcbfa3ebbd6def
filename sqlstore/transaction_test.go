package sqlstore

import (
	"database/sql"
	"testing"
)

func TestInline(t *testing.T) {
	t.Parallel()
	args := []any{
		"it's; -- \\ ?", "", []byte{0, 0xff}, int64(-7), true, nullable(""), nullable("é"), sql.Null[int64]{},
		sql.Null[int64]{V: 9, Valid: true}, keptChanges,
	}
	const query = "A ? ? ? ? ? ? ? ? ? ? B"
	const want = "A CONVERT(X'697427733b202d2d205c203f' USING utf8mb4) CONVERT(X'' USING utf8mb4) X'00ff' -7 true NULL " +
		"CONVERT(X'c3a9' USING utf8mb4) NULL 9 10000 B"
	if got := inline(query, args); got != want {
		t.Errorf("the statement is %s, want %s", got, want)
	}
	if got := inline("A", nil); got != "A" {
		t.Errorf("the statement without arguments is %s", got)
	}
}
