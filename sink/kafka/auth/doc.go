// Package auth makes the SASL mechanisms that sink/kafka signs on with: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER.
//
// Secrets come as functions and are read at each connect, so that a file which is replaced counts from the next connection
// on. A mechanism keeps no secret once it has been used; package wire signs on again before a session ends.
//
// It does not speak to brokers: that is package wire. Kerberos and AWS IAM are not here.
package auth
