package ram

import (
	"testing"
	"unsafe"
)

// A record takes two cache lines, and the digest ends in the second.
func TestRecordIsTwoCacheLines(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(record{}); size != 128 {
		t.Errorf("a record takes %d bytes", size)
	}
	if offset := unsafe.Offsetof(record{}.digestEnd); unsafe.Sizeof(uintptr(0)) == 8 && offset != 64 {
		t.Errorf("the second line begins at %d", offset)
	}
}
