package auth_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/sink/kafka/auth"
)

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if r.FormValue("grant_type") != "client_credentials" || id != "relay" || secret != "s%2Fcret" || r.FormValue("scope") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"no such client"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"t0ken","expires_in":60}`))
	}))
	defer server.Close()
	c := auth.ClientCredentials{TokenURL: server.URL, ClientID: "relay", Secret: auth.Value("s/cret"), Scope: "kafka"}
	if got, err := c.Token(t.Context()); got != "t0ken" || err != nil {
		t.Errorf("token: got %q, %v", got, err)
	}
	c.Secret = auth.Value("wrong")
	if _, err := c.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_client no such client") {
		t.Errorf("wrong secret: got %v, want the endpoint's words", err)
	}
	if _, err := c.Token(t.Context()); strings.Contains(err.Error(), "wrong") {
		t.Errorf("the error shows the secret: %v", err)
	}
}

func TestOAuthBearer_FirstMessage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	read := auth.OAuthBearer("the token", auth.TokenFile(file), map[string]string{"b": "2", "a": "1"})
	if _, _, err := read(t.Context()); err == nil {
		t.Error("no file: want an error")
	}
	for _, token := range []string{"one", "two"} { // read again each time
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m, who, err := read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state, first, err := m.Start(t.Context())
		if want := "n,,\x01auth=Bearer " + token + "\x01a=1\x01b=2\x01\x01"; string(first) != want || err != nil {
			t.Errorf("first message: got %q (%v), want %q", first, err, want)
		}
		if done, _, _ := state.Next(t.Context(), nil); !done || who != "the token" || m.Name() != "OAUTHBEARER" {
			t.Errorf("accepted: got %v, %q, %q", done, who, m.Name())
		}
		if done, out, _ := state.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); done || string(out) != "\x01" {
			t.Errorf("refused: got %v, %q, want the refusal confirmed", done, out)
		}
	}
}
