package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing/fstest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/memstore"
)

// texts.de.html has the texts of the list in German. A real program embeds such files.
const german = `
{{define "product"}}API-Schlüssel{{end}}
{{define "signed-in"}}Angemeldet als <bdi>{{.}}</bdi>{{end}}
{{define "never"}}Nie{{end}}
{{define "name"}}Name{{end}}
{{define "key"}}Schlüssel{{end}}
{{define "kind"}}{{if eq . "service_token"}}Dienstschlüssel{{else}}Persönlicher Schlüssel{{end}}{{end}}
{{define "scopes"}}Rechte{{end}}
{{define "no-scopes"}}Keine{{end}}
{{define "created"}}Erstellt{{end}}
{{define "last-used"}}Zuletzt benutzt{{end}}
{{define "expires"}}Läuft ab{{end}}
{{define "status-heading"}}Zustand{{end}}

{{define "short-month"}}
	{{- nth . "Jan." "Feb." "März" "Apr." "Mai" "Juni" "Juli" "Aug." "Sept." "Okt." "Nov." "Dez."}}
{{- end}}
{{define "date-text"}}{{.Format "2."}} {{template "short-month" .Month}} {{.Format "2006"}}{{end}}

{{/* German has its own case for these: vor einem Tag, in 3 Tagen. */}}
{{define "relative-text"}}
	{{- if not .Past}}in {{template "dative" .Away}}
	{{- else if eq .Away.Unit "second"}}gerade eben
	{{- else}}vor {{template "dative" .Away}}
	{{- end}}
{{- end}}
{{define "dative"}}
	{{- if eq .Unit "minute"}}{{plural .N "one" "einer Minute" "other" "# Minuten"}}
	{{- else if eq .Unit "hour"}}{{plural .N "one" "einer Stunde" "other" "# Stunden"}}
	{{- else if eq .Unit "day"}}{{plural .N "one" "einem Tag" "other" "# Tagen"}}
	{{- else}}{{plural .N "one" "einem Jahr" "other" "# Jahren"}}
	{{- end}}
{{- end}}
{{define "span"}}
	{{- if eq .Unit "day"}}{{plural .N "one" "# Tag" "other" "# Tage"}}
	{{- else}}{{plural .N "one" "# Jahr" "other" "# Jahre"}}
	{{- end}}
{{- end}}

{{define "status"}}
	{{- if eq .State "active"}}Aktiv
	{{- else if eq .State "expiring"}}Läuft {{template "moment" .Until}} ab
	{{- else if eq .State "old"}}Erneuern: {{template "span" .Since.Away}} alt
	{{- else if eq .State "unused"}}Seit {{template "dative" .Since.Away}} unbenutzt
	{{- else if eq .State "rotating"}}Ersetzt, endet {{template "moment" .Until}}
	{{- else if eq .State "expired"}}Abgelaufen
	{{- else if eq .State "revoked"}}Widerrufen
	{{- end}}
{{- end}}

{{define "list-lead"}}Mit diesen Schlüsseln handeln Programme für Sie.
	Geben Sie jedem einen eigenen, und widerrufen Sie, was niemand mehr braucht.{{end}}
{{define "new-button"}}Neuer Schlüssel{{end}}
{{define "search"}}Suche{{end}}
{{define "apply-filters"}}Anzeigen{{end}}
{{define "status-filter"}}
	{{- if eq . "works"}}Gültig
	{{- else if eq . "care"}}Braucht Aufmerksamkeit
	{{- else if eq . "expiring"}}Läuft bald ab
	{{- else if eq . "unused"}}Unbenutzt
	{{- else if eq . "ended"}}Abgelaufen oder widerrufen
	{{- else}}Alle
	{{- end}}
{{- end}}
{{define "range"}}
	{{- number .From}}{{if lt .From .To}} bis {{number .To}}{{end}}{{if not .IsCut}} von {{number .Total}}{{end}}
{{- end}}
{{define "prev-page"}}Vorige Seite{{end}}
{{define "next-page"}}Nächste Seite{{end}}
{{define "select"}}Auswahl{{end}}
{{define "revoke-selected"}}Auswahl widerrufen{{end}}
{{define "find-title"}}Wem gehört dieser Schlüssel?{{end}}
`

// The texts of the list stand in German in a file of their own, which the language of a person
// selects. What the file leaves out is in English.
func Example_german() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	tokens := console.New(guard, &console.Options{
		Principal: func(*http.Request) (console.Principal, error) {
			return console.Principal{User: "Ada", Language: "de-AT"}, nil
		},
		Files: fstest.MapFS{"texts.de.html": {Data: []byte(german)}},
	})

	create := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"label": "Laptop", "expired_at": null}`))
	create.Header.Set("Content-Type", "application/json")
	tokens.ServeHTTP(httptest.NewRecorder(), create)

	list := httptest.NewRequest(http.MethodGet, "/", nil)
	list.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	tokens.ServeHTTP(w, list)
	shown := regexp.MustCompile(`<(?:html|h1).*>|<td.*(?:Keine|Nie|Aktiv).*>`)
	for _, line := range shown.FindAllString(w.Body.String(), -1) {
		fmt.Println(line)
	}
	// Output:
	// <html lang="de" dir="ltr">
	// <h1>API-Schlüssel</h1>
	// <td role="cell" data-label="Rechte"><span class="quiet">Keine</span></td>
	// <td role="cell" data-label="Zuletzt benutzt">Nie</td>
	// <td role="cell" data-label="Läuft ab">Nie</td>
	// <td role="cell" data-label="Zustand"><span class="badge active">Aktiv</span></td>
}
