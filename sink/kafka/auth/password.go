package auth

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/cdc-relay/cdc-relay/sink/kafka/wire"
)

// Secret reads a secret, each time anew.
type Secret func() (string, error)

// Value is a secret that does not change.
func Value(s string) Secret { return func() (string, error) { return s, nil } }

// File reads a secret from a file; a line end after it is not part of it.
func File(path string) Secret {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the secret: %w", err)
		}
		s := strings.TrimRight(string(b), "\r\n")
		if s == "" {
			return "", fmt.Errorf("read the secret: file %s is empty", path)
		}
		return s, nil
	}
}

// Plain is PLAIN (RFC 4616): the password travels as it is, so use it under TLS alone.
func Plain(user string, password Secret) wire.Mechanisms {
	return withPassword(user, password, func(secret string) (sasl.Mechanism, error) {
		return plain.Mechanism{Username: user, Password: secret}, nil
	})
}

// ScramSHA256 is SCRAM-SHA-256 (RFC 7677).
func ScramSHA256(user string, password Secret) wire.Mechanisms {
	return withPassword(user, password, func(secret string) (sasl.Mechanism, error) {
		return scram.Mechanism(scram.SHA256, user, secret)
	})
}

// ScramSHA512 is SCRAM-SHA-512.
func ScramSHA512(user string, password Secret) wire.Mechanisms {
	return withPassword(user, password, func(secret string) (sasl.Mechanism, error) {
		return scram.Mechanism(scram.SHA512, user, secret)
	})
}

func withPassword(user string, password Secret, mechanism func(string) (sasl.Mechanism, error)) wire.Mechanisms {
	return func(context.Context) (sasl.Mechanism, string, error) {
		secret, err := password()
		if err != nil {
			return nil, "user " + user, err
		}
		m, err := mechanism(secret)
		return m, "user " + user, err
	}
}
