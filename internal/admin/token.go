package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// maxBody is the most that a protected handler may read of a request.
const maxBody = 1 << 20

// protect lets a request through to next when it carries the token.
func (s *Server) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := s.token()
		if err != nil {
			// Where it stands is the operator's business, not that of whoever asks.
			http.Error(w, "the token cannot be read: see to the file that admin.token_file names", http.StatusServiceUnavailable)
			return
		}
		if want == "" {
			http.Error(w, "this needs a token and none is set: set admin.token_file", http.StatusForbidden)
			return
		}
		scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || !sameToken(strings.TrimSpace(got), want) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="cdc-relay"`)
			http.Error(w, "the bearer token is missing or wrong", http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// token returns the token of the moment, "" when there is none.
func (s *Server) token() (string, error) {
	if s.config.Token == nil {
		return "", nil
	}
	token, err := s.config.Token()
	return strings.TrimSpace(token), err
}

// sameToken takes the same time whatever the tokens are.
func sameToken(got, want string) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
