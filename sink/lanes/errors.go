package lanes

import (
	"context"
	"errors"

	"github.com/cdc-relay/cdc-relay/sink"
)

// Failure is why a write has to be tried again. Any other error counts as one with the reason "failed", or "timeout" when
// a deadline passed.
type Failure struct {
	Reason string      // short constant, fit for a metric's label: unreachable, timeout, disk_full, ...
	Err    error       // the whole story
	Notice sink.Notice // what a person can do about it; the zero value: nothing to tell
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Rejected says that the destination will never accept the first event that was not written.
type Rejected struct{ sink.Rejection }

func (r *Rejected) Error() string { return r.Err.Error() }
func (r *Rejected) Unwrap() error { return r.Err }

// failure makes a Failure of whatever a write returned.
func failure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Failure{Reason: "timeout", Err: err}
	}
	return &Failure{Reason: "failed", Err: err}
}
