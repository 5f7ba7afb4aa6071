package inboxkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

var (
	// errLate: a handler had Config.HandlerTimeout and did not end.
	errLate = errors.New("the handler did not end within its time-out")
	// errLeft: and it does not listen to its context, so it was left behind.
	errLeft = errors.New("it does not listen to its context and was left behind")
)

// watchdog calls what may hang. kafka-go's heartbeat goes on beside a handler that hangs: nobody else would notice.
type watchdog struct {
	log   *slog.Logger
	grace time.Duration // how long a call may go on once its context has ended
	left  func()        // is told of each call that was left behind
}

// call runs f, and ends its context after limit (errLate). What has not returned a grace after that, or after the end of hard,
// is left behind (errLeft too): with its context its transaction's connection has ended, so nothing of it can take effect.
func (w *watchdog) call(hard context.Context, limit time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(hard, limit, errLate)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // the inbox recovers handlers; this is for what stands around them
				done <- fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		done <- f(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	late := time.NewTimer(w.grace)
	defer late.Stop()
	select {
	case err := <-done:
		if err == nil || hard.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: %v", cause, err) //nolint:errorlint // what the end of its context has done to the connection is no fault of the database
	case <-late.C:
		w.log.Error("a handler hangs and does not listen to its context: it is left behind", "after", limit+w.grace, "err", cause)
		w.left()
		return fmt.Errorf("%w; %w", cause, errLeft)
	}
}
