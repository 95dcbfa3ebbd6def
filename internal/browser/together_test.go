package browser

import (
	"net/http"
	"testing"

	"github.com/httpkey/httpkey"
)

// Of two people who edit a token at once, the second sees what the first changed, keeps what they typed,
// and replaces the first one's change only by saving again.
func TestTwoBrowsersAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.add(t, httpkey.Token{ID: "id", Label: "Laptop", IsActive: true})
	first, second := open(t, s, "ada"), open(t, s, "ada")
	mustBe := func(label, description string) {
		t.Helper()
		if token := s.tokens(t)[0]; token.Label != label || token.Description != description {
			t.Errorf("it is %q, described as %q, want %q and %q", token.Label, token.Description, label, description)
		}
	}

	first.visit("id/")
	second.visit("id/")
	first.fill("Name", "Server")
	if status := first.follow("Save changes"); status != http.StatusOK {
		t.Fatalf("the first change: %d", status)
	}

	second.fill("Description", "In the attic")
	if status := second.follow("Save changes"); status != http.StatusConflict {
		t.Fatalf("the second change: %d, want a conflict", status)
	}
	second.mustRead("Server")
	if name, description := second.value("Name"), second.value("Description"); name != "Laptop" ||
		description != "In the attic" {
		t.Errorf("the form has %q and %q", name, description)
	}
	mustBe("Server", "")

	if status := second.follow("Save changes"); status != http.StatusOK {
		t.Fatalf("the second change, again: %d", status)
	}
	mustBe("Laptop", "In the attic")
	second.mustBeCalm()
}

// A change of one browser and a revocation by another: the token stays revoked.
func TestChangeAfterRevocation(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.add(t, httpkey.Token{ID: "id", Label: "Laptop", IsActive: true})
	first, second := open(t, s, "ada"), open(t, s, "ada")
	second.visit("id/")
	first.visit("id/revoke/")
	first.follow("Revoke")
	first.mustRead("Revoked")

	second.fill("Name", "Server")
	if status := second.follow("Save changes"); status != http.StatusConflict {
		t.Fatalf("the change: %d, want a conflict", status)
	}
	second.mustRead("Revoked")
	if token := s.tokens(t)[0]; token.IsActive || token.Label != "Laptop" {
		t.Errorf("it is %+v", token)
	}
}
