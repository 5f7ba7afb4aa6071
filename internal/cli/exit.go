package cli

import (
	"errors"
)

// Code is an exit code: a contract with scripts and orchestrators.
type Code int

// The exit codes.
const (
	OK             Code = 0
	Failed         Code = 1
	Usage          Code = 2
	Invalid        Code = 3
	Precondition   Code = 4
	Unhealthy      Code = 5
	SlotUnusable   Code = 6
	DrainTimeout   Code = 7
	StoppedOnEvent Code = 8
	Interrupted    Code = 130
	Terminated     Code = 143
)

// CodeInfo documents a code.
type CodeInfo struct {
	Code    Code
	Meaning string
	Todo    string
}

// Codes lists all exit codes.
func Codes() []CodeInfo {
	return []CodeInfo{
		{OK, "done; `run`: drained after SIGTERM", "-"},
		{Failed, "failed while running", "Read the error; it names what failed. Trying again may help."},
		{Usage, "usage: unknown verb or flag, missing argument, missing `--yes`", "`cdc-relay VERB --help`"},
		{Invalid, "the configuration is invalid", "Each mistake is listed with its place; `cdc-relay config check`."},
		{Precondition, "a precondition failed: privilege, password, wal_level, schema, publication, topic", "The error names the cure; trying again without it does not help."},
		{Unhealthy, "unhealthy or degraded (`status`, `healthcheck`)", "`curl` /readyz?verbose, or `cdc-relay status`."},
		{SlotUnusable, "the slot cannot be used: lost, missing, or not where the mark says", "An operator decides: `cdc-relay slot list`, `slot adopt`."},
		{DrainTimeout, "the drain timed out; what was not acknowledged is published again by the next start", "Raise `drain_timeout`, or see why the sink is slow."},
		{StoppedOnEvent, "stopped on an event: rejected under `on_reject: halt`, not decodable, or `limits.max_parked` reached", "`cdc-relay skip --position` or `dlq`, after reading the error."},
		{Interrupted, "a second SIGINT: stopped at once", "-"},
		{Terminated, "a second SIGTERM: stopped at once", "-"},
	}
}

// ExitError is an error that ends the program with a code.
type ExitError struct {
	Code Code
	Err  error
}

// Error is the text of the error inside.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap gives the error inside.
func (e *ExitError) Unwrap() error { return e.Err }

// Exit gives err an exit code; nil stays nil. A code that err carries already is kept.
func Exit(code Code, err error) error {
	var known *ExitError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &ExitError{Code: code, Err: err}
}

// CodeOf is the exit code that err means. Errors without a code come from cobra, before a verb ran: usage.
func CodeOf(err error) Code {
	var known *ExitError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &known):
		return known.Code
	}
	return Usage
}
