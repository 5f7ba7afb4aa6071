package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// Secret is a value that never prints itself: every way of formatting or marshalling it gives the masked form. It is
// either inline or in a file that is read by each call of Read.
type Secret struct {
	value string
	file  string
	url   bool // a connection string: all but the password may be shown
}

// secretFile is the place of a secret's _file twin.
type secretFile struct{ of *Secret }

// Placeholder stands in shipped examples where a person has to write something of his own; it is refused everywhere.
const Placeholder = "CHANGE-ME"

const masked = "***"

// ErrPlaceholder says that a secret's file still holds the placeholder.
var ErrPlaceholder = errors.New("still holds the placeholder " + Placeholder + "; write the real value into it")

// maxSecretBytes bounds what is read from a secret's file: tokens are some KiB.
const maxSecretBytes = 1 << 20

// NewSecret is an inline secret.
func NewSecret(value string) Secret { return Secret{value: value} }

// NewSecretFile is a secret that lives in a file.
func NewSecretFile(path string) Secret { return Secret{file: path} }

// NewURL is an inline connection string.
func NewURL(value string) Secret { return Secret{value: value, url: true} }

// IsSet tells whether there is anything to read.
func (s Secret) IsSet() bool { return s.value != "" || s.file != "" }

// File is the path of the file it is read from, "" when it is inline.
func (s Secret) File() string { return s.file }

// Read returns the secret, from its file when it has one: call it at each connect, so that a rotated secret is found.
// White space at the file's end is no part of it. A secret that is not set is "".
func (s Secret) Read() (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes))
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", s.file, err)
	}
	b = bytes.TrimRight(b, " \t\r\n")
	if len(b) == 0 {
		return "", fmt.Errorf("read secret %s: the file is empty", s.file)
	}
	if bytes.Contains(b, []byte(Placeholder)) {
		return "", fmt.Errorf("read secret %s: %w", s.file, ErrPlaceholder)
	}
	return string(b), nil
}

// Masked is what may be shown: *** or, for a connection string, all of it but the password; "" when it is not set.
func (s Secret) Masked() string {
	switch {
	case s.file != "":
		return "file " + s.file
	case s.value == "":
		return ""
	case s.url:
		return MaskURL(s.value)
	}
	return masked
}

// String, Format, GoString and MarshalText show the masked form only.
func (s Secret) String() string { return s.Masked() }

// Format covers every verb of fmt, %#v and %+v among them.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Masked()) }

// MarshalText covers JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.Masked()), nil }

// A password in keyword/value form, quoted or not (libpq: Connection Strings).
var passwordWord = regexp.MustCompile(`(?i)\b((?:ssl)?password)\s*=\s*('(?:[^'\\]|\\.)*'|\S*)`)

// MaskURL hides the password of a connection string, in URL or keyword/value form. What it cannot parse it hides whole.
func MaskURL(dsn string) string {
	if !strings.Contains(dsn, "://") {
		return passwordWord.ReplaceAllString(dsn, "$1="+masked)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return masked
	}
	if _, has := u.User.Password(); has {
		// url.UserPassword would escape the asterisks.
		u.User = url.UserPassword(u.User.Username(), "MASKED")
	}
	query := u.Query()
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, "MASKED")
			u.RawQuery = query.Encode()
		}
	}
	s := u.String()
	s = strings.Replace(s, ":MASKED@", ":"+masked+"@", 1)
	return strings.ReplaceAll(s, "=MASKED", "="+masked)
}

// ConnString reads url and password anew and joins them into one connection string; "" leaves everything to libpq's
// environment. Call it at each connect. Do not print it.
func (d Database) ConnString() (string, error) {
	dsn, err := d.URL.Read()
	if err != nil {
		return "", err
	}
	password, err := d.Password.Read()
	if err != nil || password == "" {
		return dsn, err
	}
	if !strings.Contains(dsn, "://") {
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		return strings.TrimSpace(dsn + " password='" + quoted + "'"), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("parse connection URL %s: not a URL", MaskURL(dsn))
	}
	query := u.Query()
	query.Del("password")
	if user := u.User.Username(); user != "" {
		u.User = url.UserPassword(user, password)
	} else {
		query.Set("password", password)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}
