package demo

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Options says what to run. NewOptions has the defaults.
type Options struct {
	For      time.Duration // how long the application writes; 0: until the context ends
	Rate     int           // events committed a second
	Rows     int           // rows of a batch
	Keys     int           // different partition keys
	Brokers  []string      // of a real Kafka; empty: embedded
	Database string        // URL of a real Postgres, of a role that may make databases; empty: embedded
	Postgres string        // major version of the embedded one
	Chaos    bool          // bad luck while it runs
	Relay    string        // program of the relay; empty: built from ./cmd/cdc-relay
	Screen   io.Writer     // what goes on, live
	Terminal bool          // Screen is a terminal: a table that is redrawn, not lines
}

// NewOptions returns the defaults.
func NewOptions() Options {
	return Options{Rate: 500, Rows: 10, Keys: 100, Postgres: "15", Screen: io.Discard}
}

// Validate returns all mistakes at once.
func (o Options) Validate() error {
	var all []error
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{o.For >= 0, "--for must not be negative"},
		{o.Rate > 0 && o.Rate <= 1_000_000, "--rate must be 1 to 1000000"},
		{o.Rows > 0 && o.Rows <= 10_000, "--rows must be 1 to 10000"},
		{o.Keys > 0 && o.Keys <= 1_000_000, "--keys must be 1 to 1000000"},
	} {
		if !c.ok {
			all = append(all, errors.New(c.what))
		}
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	return nil
}
