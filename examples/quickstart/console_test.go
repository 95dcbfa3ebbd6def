package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// From the start page through the sign-in to a new key that works.
func TestConsole(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	v := visit(t, demo.url)
	if page := v.get("/"); !strings.Contains(page.text, `href="/settings/api-tokens/"`) {
		t.Errorf("the start page has no link to the tokens:\n%s", page.text)
	}
	page := v.signIn(v.get("/settings/api-tokens/"), ada)
	if page.path != "/settings/api-tokens/" || page.status != http.StatusOK {
		t.Fatalf("signed in one comes to %s:\n%s", page.path, page.text)
	}
	response := v.send(http.MethodPost, "/settings/api-tokens/", `{"label":"laptop"}`,
		http.Header{"Content-Type": {"application/json"}})
	var created struct{ Token string }
	if err := json.Unmarshal([]byte(response.text), &created); err != nil || response.status != http.StatusCreated {
		t.Fatalf("%d %s", response.status, response.text)
	}
	status, who, _ := get(t, demo.url+"/api/v1/users/me/", created.Token)
	if status != http.StatusOK || !strings.Contains(string(who), ada.ID) {
		t.Errorf("the API answers the new key with %d %s", status, who)
	}
}

// Each person sees their own tokens, and Ada those of all, in the frame of the demo.
func TestWhoSeesWhat(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	for _, tt := range []struct {
		who           user
		sees, seesNot []string
	}{
		{ada, []string{">Laptop<", ">Phone<", ">Card reader<", "hk_s_", "Charles Babbage"}, nil},
		{charles, []string{">Phone<", ">Print room<", ">Notebook<"}, []string{">Laptop<", ">Card reader<", "hk_s_"}},
	} {
		page := visitAs(t, demo.url, tt.who).get("/settings/api-tokens/")
		frame := []string{"app-sidebar", `<a href="/settings/api-tokens/" aria-current="page">`, tt.who.Name(), "Sign out"}
		for _, text := range append(frame, tt.sees...) {
			if !strings.Contains(page.text, text) {
				t.Errorf("%s does not see %s:\n%s", tt.who.FirstName, text, page.text)
			}
		}
		for _, text := range tt.seesNot {
			if strings.Contains(page.text, text) {
				t.Errorf("%s sees %s", tt.who.FirstName, text)
			}
		}
	}
}

// Charles gives no scope that he does not have, makes no service token and touches no token of Ada's.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	for _, tt := range []struct {
		who                user
		method, path, body string
		want               int
	}{
		{ada, http.MethodPost, "", `{"label":"a","scopes":["engine:run"]}`, 201},
		{ada, http.MethodPost, "", `{"label":"a","kind":"service_token","workspace":"` + engine + `"}`, 201},
		{ada, http.MethodPatch, "demo-phone/", `{"is_active":false}`, 200},
		{ada, http.MethodPost, "demo-print-room/rotate/", `{"grace":0}`, 403},
		{charles, http.MethodPost, "", `{"label":"a","scopes":["cards:read"]}`, 201},
		{charles, http.MethodPost, "", `{"label":"a","scopes":["engine:run"]}`, 403},
		{charles, http.MethodPost, "", `{"label":"a","kind":"service_token","workspace":"` + engine + `"}`, 403},
		{charles, http.MethodPatch, "demo-laptop/", `{"is_active":false}`, 404},
	} {
		response := visitAs(t, demo.url, tt.who).send(tt.method, "/settings/api-tokens/"+tt.path, tt.body,
			http.Header{"Content-Type": {"application/json"}})
		if response.status != tt.want {
			t.Errorf("%s: %s %s %s: %d %s, want %d",
				tt.who.FirstName, tt.method, tt.path, tt.body, response.status, response.text, tt.want)
		}
	}
}

// The page shows what the samples were used for, and counts each request.
func TestUsageGrows(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	v := visitAs(t, demo.url, ada)
	passed := func(id string) (passed int64) {
		t.Helper()
		response := v.send(http.MethodGet, "/settings/api-tokens/"+id+"/usage/", "", nil)
		var used struct{ Hours, Days []usage.Interval }
		if err := json.Unmarshal([]byte(response.text), &used); err != nil || response.status != http.StatusOK {
			t.Fatalf("%d %s", response.status, response.text)
		}
		for _, day := range used.Days {
			passed += day.Passed
		}
		return passed
	}
	if n := passed("demo-laptop"); n == 0 {
		t.Error("the laptop was never used")
	}
	list := v.send(http.MethodGet, "/settings/api-tokens/?search=quickstart&kind=api_key", "", nil)
	var printed struct{ Results []httpkey.Token }
	if err := json.Unmarshal([]byte(list.text), &printed); err != nil || len(printed.Results) != 1 {
		t.Fatalf("%v %s", err, list.text)
	}
	for range 3 {
		get(t, demo.url+"/api/v1/users/me/", demo.apiKey)
	}
	if n := passed(printed.Results[0].ID); n != 3 {
		t.Errorf("%d of 3 requests are counted", n)
	}
	page := v.get("/settings/api-tokens/demo-laptop/")
	if !strings.Contains(page.text, "<svg") {
		t.Errorf("the page has no chart:\n%s", page.text)
	}
}

// No page has an inline style or script, and each lets a browser run none.
func TestPagesAreStrict(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	v := visitAs(t, demo.url, ada)
	for _, path := range []string{"/", "/sign-in", "/settings/api-tokens/", "/settings/api-tokens/demo-laptop/"} {
		page := v.get(path)
		policy := page.header.Get("Content-Security-Policy")
		if page.status != http.StatusOK || !strings.Contains(policy, "default-src 'none'") ||
			strings.Contains(policy, "unsafe") || page.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, page.status, page.header)
		}
		for _, inline := range []string{"<style", " style=", " onclick=", "<script>"} {
			if strings.Contains(page.text, inline) {
				t.Errorf("%s has %s", path, inline)
			}
		}
	}
	styles := v.get("/style.css")
	if styles.status != http.StatusOK || !strings.HasPrefix(styles.header.Get("Content-Type"), "text/css") {
		t.Errorf("the stylesheet: %d %v", styles.status, styles.header)
	}
}
