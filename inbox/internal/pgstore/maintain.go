package pgstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// inUse are what a step of maintenance may meet: a lock not granted in time, a deadlock, a row that came into the day meanwhile.
var inUse = []string{"55P03", "40P01", "23514"}

// Maintain is that of inbox.Maintainer.
func (s *Store[T]) Maintain(ctx context.Context) (inbox.Maintained, error) {
	var done inbox.Maintained
	for {
		did, day, moved, err := s.step(ctx)
		if slices.Contains(inUse, SQLState(err)) {
			done.Waiting = append(done.Waiting, fmt.Sprintf("the tables are in use by long transactions, again next time: %v", err))
			return done, nil
		}
		if err != nil {
			return done, err
		}
		switch did {
		case "made":
			done.Made = append(done.Made, day)
			done.Moved += moved
		case "dropped":
			done.Dropped = append(done.Dropped, day)
		default:
			done.Busy = did == "busy"
			return done, nil
		}
	}
}

// step does one thing in a transaction of its own. It waits for locks half a second: others queue behind it meanwhile.
func (s *Store[T]) step(ctx context.Context) (did, day string, moved int64, err error) {
	err = s.d.Tx(ctx, func(ctx context.Context, tx T) error {
		q := s.d.In(tx)
		if _, err := q.Exec(ctx, `SELECT set_config('lock_timeout', '500ms', true)`); err != nil {
			return Fail("maintain the inbox", err)
		}
		var on *string
		err := q.Query(ctx, `SELECT did, day::text, amount FROM cdc_inbox.maintain_v1()`, nil,
			func(scan func(...any) error) error { return scan(&did, &on, &moved) })
		if on != nil {
			day = *on
		}
		return Fail("maintain the inbox", err)
	})
	return did, day, moved, err
}
