package lanes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/sink"
)

// Defaults of Config.
const (
	DefaultLanes          = 16
	DefaultMaxBatchEvents = 1000
	DefaultMaxBatchBytes  = 1 << 20
)

// WriteFunc delivers events of one lane in their order, and returns once the destination holds them durably. It is called
// by one goroutine at a time for each lane, and by several for different lanes. The slice is the caller's, valid during
// the call; the events are immutable.
//
// written is how many from the front the destination holds. With a nil error it must be all of them. With a *Rejected the
// destination refuses events[written] for good. With any other error, best a *Failure, events[written:] are written again
// after a wait, for ever. After ctx has ended the call returns soon, whatever it returns.
type WriteFunc func(ctx context.Context, lane int, events []*decoder.Event) (written int, err error)

// Config says how a Sink works. Begin with NewConfig.
type Config struct {
	Write WriteFunc

	Lanes          int           // ordered queues. Default 16; 1 keeps all events in one order
	MaxBatchEvents int           // of one write. Default 1000
	MaxBatchBytes  int           // of keys, values and headers in one write; a larger event goes alone. Default 1 MiB
	MinBackoff     time.Duration // first wait after a failed write. Default 50 ms
	MaxBackoff     time.Duration // longest wait. Default 5 s

	// Name of a lane, as a person reads it in the status. Default "lane 3".
	Name func(lane int) string
}

// NewConfig returns the defaults around write.
func NewConfig(write WriteFunc) Config {
	return Config{
		Write: write,
		Lanes: DefaultLanes, MaxBatchEvents: DefaultMaxBatchEvents, MaxBatchBytes: DefaultMaxBatchBytes,
		MinBackoff: sink.DefaultMinBackoff, MaxBackoff: sink.DefaultMaxBackoff,
		Name: func(lane int) string { return fmt.Sprintf("lane %d", lane) },
	}
}

// Validate returns all mistakes at once.
func (c *Config) Validate() error {
	var mistakes []error
	positive := func(name string, n int64) {
		if n <= 0 {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, want more than 0", name, n))
		}
	}
	if c.Write == nil {
		mistakes = append(mistakes, errors.New("write is missing"))
	}
	if c.Name == nil {
		mistakes = append(mistakes, errors.New("name is missing"))
	}
	positive("lanes", int64(c.Lanes))
	positive("max batch events", int64(c.MaxBatchEvents))
	positive("max batch bytes", int64(c.MaxBatchBytes))
	positive("min backoff", int64(c.MinBackoff))
	if c.MaxBackoff < c.MinBackoff {
		mistakes = append(mistakes, fmt.Errorf("max backoff %v is below min backoff %v", c.MaxBackoff, c.MinBackoff))
	}
	return errors.Join(mistakes...)
}
