package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// maxTokenResponse bounds what a token endpoint may answer.
const maxTokenResponse = 1 << 20

// Token fetches a bearer token for one connection.
type Token func(ctx context.Context) (string, error)

// TokenFile reads the token from a file, as platforms put it there and renew it.
func TokenFile(path string) Token {
	read := File(path)
	return func(context.Context) (string, error) {
		token, err := read()
		return strings.TrimSpace(token), err
	}
}

// ClientCredentials fetches tokens by OAuth 2's client credentials grant (RFC 6749, 4.4).
type ClientCredentials struct {
	TokenURL string
	ClientID string
	Secret   Secret
	Scope    string // space separated; "": none is asked for
	Client   *http.Client
}

// Token asks the endpoint for a new token.
func (c ClientCredentials) Token(ctx context.Context) (string, error) {
	secret, err := c.Secret()
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if c.Scope != "" {
		form.Set("scope", c.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.TokenURL, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(secret)) // RFC 6749, 2.3.1
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.TokenURL, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTokenResponse))
	if err != nil {
		return "", fmt.Errorf("ask %s for a token: %w", c.TokenURL, err)
	}
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		More  string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &answer) // the status says enough when it is no JSON
	if res.StatusCode != http.StatusOK || answer.Token == "" {
		return "", fmt.Errorf("ask %s for a token for client %s: %s %s %s", c.TokenURL, c.ClientID, res.Status, answer.Error, answer.More)
	}
	return answer.Token, nil
}

// OAuthBearer is OAUTHBEARER (RFC 7628). who names the token's owner in messages; extensions are SASL extensions (KIP-342).
func OAuthBearer(who string, token Token, extensions map[string]string) wire.Mechanisms {
	return func(ctx context.Context) (sasl.Mechanism, string, error) {
		t, err := token(ctx)
		if err == nil && (t == "" || strings.ContainsAny(t, "\x01\r\n")) {
			err = errors.New("what was read is no bearer token")
		}
		if err != nil {
			return nil, who, err
		}
		return bearer{token: t, extensions: extensions}, who, nil
	}
}

type bearer struct {
	token      string
	extensions map[string]string
}

func (bearer) Name() string { return "OAUTHBEARER" }

// Start sends the token.
func (b bearer) Start(context.Context) (sasl.StateMachine, []byte, error) {
	first := "n,,\x01auth=Bearer " + b.token + "\x01"
	names := make([]string, 0, len(b.extensions))
	for name := range b.extensions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		first += name + "=" + b.extensions[name] + "\x01"
	}
	return b, []byte(first + "\x01"), nil
}

// Next ends the exchange: a challenge is the broker's refusal, which it wants confirmed before it says so (RFC 7628, 3.2.3).
func (bearer) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	if len(challenge) == 0 {
		return true, nil, nil
	}
	return false, []byte{1}, nil
}
