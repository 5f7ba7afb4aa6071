package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Diagnose says how a person ends what kept a connection from being made; "": he cannot, or waiting is all.
func Diagnose(err error) (cure string) {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var cert *tls.CertificateVerificationError
	var code Code
	switch {
	case errors.Is(err, ErrAuthentication):
		return "correct sink.kafka.sasl (mechanism, user, password or its file); it is read again at each attempt"
	case errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &cert):
		return "name the authority that signed the brokers' certificates in sink.kafka.tls.ca_file"
	case errors.Is(err, ErrNotTLS):
		return "this listener speaks plain text: remove sink.kafka.tls or use the TLS listener's port"
	case errors.As(err, &code) && code.Class() == StateOfSink:
		return code.Cure()
	}
	return ""
}
