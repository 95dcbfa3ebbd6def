package ram

import (
	"strings"
	"testing"
)

// checkText reports whether a Text gives back its strings.
func checkText(t *testing.T, payer, id string, others Others) {
	t.Helper()
	text := NewText(payer, id, others)
	if got := text.Payer(); got != payer {
		t.Errorf("of %q, %q, %q, the payer is %q", payer, id, others, got)
	}
	if got := text.ID(); got != id {
		t.Errorf("of %q, %q, %q, the ID is %q", payer, id, others, got)
	}
	if got := text.Others(); got != others {
		t.Errorf("of %q, %q, %q, the others are %q", payer, id, others, got)
	}
}

// A Text gives back its strings, whichever are empty, long, or part of another.
func TestTextKeepsItsStrings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long", 1<<14)
	names := []string{
		"", "a", "token:a", "0", "1", "\x00", "\xff\x80", long, "token:" + long,
		strings.Repeat("x", 127), strings.Repeat("x", 128),
	}
	for _, payer := range names {
		for _, id := range names {
			checkText(t, payer, id, Others{})
			checkText(t, payer, id, Others{"", id, "", payer, long, "", long, id})
		}
	}
}

// A payer that ends in the ID costs no memory for it.
func TestTextHoldsTheIDOnce(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 36)
	apart, shared := NewText("token:"+id, "b"+id[1:], Others{}), NewText("token:"+id, id, Others{})
	if len(shared) != len(apart)-len(id) {
		t.Errorf("the text takes %d bytes, and %d if the payer is another", len(shared), len(apart))
	}
}

func FuzzText(f *testing.F) {
	f.Add("token:a", "a", "hint", "")
	f.Add("", "", "", "")
	f.Add("token:a", "b", "\x80", "0")
	f.Fuzz(func(t *testing.T, payer, id, first, second string) {
		checkText(t, payer, id, Others{})
		checkText(t, payer+id, id, Others{first, second})
		checkText(t, payer, id, Others{first, id, 5: second, 7: payer})
	})
}
