package leak_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/leak"
	"github.com/httpkey/httpkey/memstore"
)

// GitHub finds a key in a public repository and reports it. The key ends, and its owner gets a
// mail.
func ExampleGitHub() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ann", Label: "laptop"})
	if err != nil {
		log.Fatal(err)
	}
	github, sign := newGitHub()
	defer github.Close()

	reports := leak.GitHub(guard, &leak.GitHubOptions{
		KeysURL: github.URL, Client: github.Client(), // of this example: leave them out
		OnLeak: func(_ context.Context, r leak.Report) {
			fmt.Printf("To %s: your key %q was found at %s\n", r.Token.User, r.Token.Label, r.URL)
		},
	})

	body := `[{"token":"` + created.Secret.Reveal() + `","type":"example_key","source":"commit",` +
		`"url":"https://github.com/ann/notes/blob/1234/todo.txt"}]`
	w := httptest.NewRecorder()
	reports.ServeHTTP(w, sign(body))
	fmt.Println(w.Code, strings.ReplaceAll(w.Body.String(), created.Secret.Reveal(), "…"))

	token, err := guard.Store().Get(context.Background(), created.Token.ID)
	fmt.Println(token.IsActive, token.RevokedFor, err)
	// Output:
	// To ann: your key "laptop" was found at https://github.com/ann/notes/blob/1234/todo.txt
	// 200 [{"token_raw":"…","token_type":"example_key","label":"true_positive"}]
	// false leaked: commit, https://github.com/ann/notes/blob/1234/todo.txt <nil>
}

// newGitHub returns a server that publishes a key, and a function that signs reports with it.
func newGitHub() (*httptest.Server, func(body string) *http.Request) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		log.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	list := map[string]any{"public_keys": []map[string]any{{"key_identifier": "1", "key": key, "is_current": true}}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(list)
	}))
	return server, func(body string) *http.Request {
		sum := sha256.Sum256([]byte(body))
		signature, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
		if err != nil {
			log.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/github/leaks", strings.NewReader(body))
		r.Header.Set("Github-Public-Key-Identifier", "1")
		r.Header.Set("Github-Public-Key-Signature", base64.StdEncoding.EncodeToString(signature))
		return r
	}
}

// A key that comes without TLS has been on the wire for everybody to read, so it ends.
func ExamplePlainHTTP() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") })
	refusePlain := leak.PlainHTTP(guard, &leak.PlainHTTPOptions{Revoke: true})
	api := refusePlain(guard.Handler(hello))

	for _, url := range []string{"https://api.example.com/", "http://api.example.com/", "https://api.example.com/"} {
		r := httptest.NewRequest(http.MethodGet, url, http.NoBody)
		r.Header.Set("X-Api-Key", created.Secret.Reveal())
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello
	// 403 {"detail":"HTTPS is required."}
	// 401 {"detail":"Given API token is not valid"}
}
