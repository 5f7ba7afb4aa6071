package partitions

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Defaults of Options.
const (
	DefaultPremake     = 7
	DefaultKeep        = 72 * time.Hour
	DefaultLockTimeout = 100 * time.Millisecond
	DefaultHoldTimeout = 2 * time.Second
	DefaultAttempts    = 3
)

// MaxMoves is how many days one Maintain moves at most, oldest first.
const MaxMoves = 10

// Settle is how long after its end a day is moved out of the default partition at the earliest.
const Settle = time.Hour

// Options says what Maintain does. Start from NewOptions: a zero field is a value, not a default.
type Options struct {
	Table        string // schema.table
	Slot         string // whose owner asks
	WalsenderPID uint32 // the owner's walsender; 0: an operator's verb, which is not fenced

	Premake int           // days ahead of today. Default 7.
	Keep    time.Duration // how long a day is kept after its end, rows of a plain table after they were written. 0: for ever. Default 72 h.

	// DeleteRows is how many rows of a plain table one call deletes at most. Default 0: none.
	DeleteRows int

	// LockTimeout bounds each wait for a lock, and so how long inserts queue behind us. Default 100 ms.
	LockTimeout time.Duration
	// HoldTimeout bounds what is done under a lock that inserts of today need: dropping a day, and attaching one while
	// rows of today go to the default partition, which ATTACH reads. Default 2 s.
	HoldTimeout time.Duration
	// Attempts is how often a step is tried when a lock could not be had, LockTimeout apart, before the next call gets
	// its turn. Default 3.
	Attempts int

	Now time.Time // zero: the server's clock
}

// NewOptions returns the defaults for a table.
func NewOptions(table string) Options {
	return Options{
		Table: table, Premake: DefaultPremake, Keep: DefaultKeep,
		LockTimeout: DefaultLockTimeout, HoldTimeout: DefaultHoldTimeout, Attempts: DefaultAttempts,
	}
}

// Validate returns all mistakes at once.
func (o Options) Validate() error {
	var errs []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	add(!strings.Contains(o.Table, "."), "table %q: want schema.table", o.Table)
	add(o.WalsenderPID != 0 && o.Slot == "", "a walsender without its slot")
	add(o.Premake < 0 || o.Premake > 366, "%d days premade: want 0 to 366", o.Premake)
	add(o.Keep < 0, "keep %s: want 0 or more", o.Keep)
	add(o.DeleteRows < 0, "%d rows to delete: want 0 or more", o.DeleteRows)
	add(o.LockTimeout < time.Millisecond, "lock timeout %s: want 1ms or more", o.LockTimeout)
	add(o.HoldTimeout < time.Millisecond, "hold timeout %s: want 1ms or more", o.HoldTimeout)
	add(o.Attempts < 1, "%d attempts: want 1 or more", o.Attempts)
	return errors.Join(errs...)
}
