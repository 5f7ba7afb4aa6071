package decoder

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a logical message of ours.
var (
	errMessage          = errors.New("message is not in the form that cdc_relay.emit_message gives it: somebody wrote it by hand")
	errNotTransactional = errors.New("message is not transactional, so it stands outside of the order of commits and outlives a rollback:" +
		" write events by cdc_relay.emit_message, or by pg_logical_emit_message(true, ...)")
)

// ErrFull is returned by Decode when the block is full (Full): Take first, then give the same message again.
var ErrFull = errors.New("decode: block is full: take its events first")

// DecodeError is a message that cannot be decoded. It stops the relay (I7); Err names the cure.
type DecodeError struct {
	Position Position // where: commit LSN of the open transaction (0 outside of one), and the index of the insert
	Relation string   // schema.table; "" when the message is about none
	Column   string   // "" when it is about none
	Err      error
}

func (e *DecodeError) Error() string {
	var b strings.Builder
	b.WriteString("decode")
	if e.Position.Commit != 0 {
		fmt.Fprintf(&b, " at %s", e.Position)
	}
	if e.Relation != "" {
		fmt.Fprintf(&b, ", relation %s", e.Relation)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %s", e.Column)
	}
	return b.String() + ": " + e.Err.Error()
}

func (e *DecodeError) Unwrap() error { return e.Err }
