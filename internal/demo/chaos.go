package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
)

// chaos does one bad thing after the other, each named on the screen, until ctx ends. Between two it waits until the
// relay streams again.
type chaos struct {
	database *parts.Database
	broker   *parts.Broker
	relay    *parts.Relay
	screen   *screen
	pause    time.Duration // before each
}

// misfortune is one bad thing: what it is called, and what it does until it is over.
type misfortune struct {
	name string
	do   func(context.Context) error
}

func (c *chaos) misfortunes() []misfortune {
	all := []misfortune{
		{"kill -9 of the relay", func(context.Context) error {
			c.relay.Kill9()
			return nil
		}},
		{"pg_terminate_backend of the walsender", func(ctx context.Context) error {
			_, err := c.database.Terminate(ctx)
			return err
		}},
	}
	if !c.broker.Embedded() {
		return all // we do not reach into a real Kafka
	}
	return append(all,
		misfortune{"broker refuses what is produced", func(ctx context.Context) error {
			c.broker.Refuse(ctx, time.Second)
			return nil
		}},
		misfortune{"broker takes what is produced and its acknowledgements are lost", func(ctx context.Context) error {
			c.broker.LoseAcks(ctx, time.Second)
			return nil
		}},
	)
}

func (c *chaos) run(ctx context.Context) error {
	for i := 0; c.untilStreaming(ctx); i++ {
		all := c.misfortunes()
		m := all[i%len(all)]
		c.screen.event("chaos: %s", m.name)
		if err := m.do(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("chaos, %s: %w", m.name, err)
		}
	}
	return nil
}

// untilStreaming waits for the next time to be unlucky; false when ctx ended.
func (c *chaos) untilStreaming(ctx context.Context) bool {
	parts.Wait(ctx, c.pause)
	for !c.database.Streaming(ctx) && ctx.Err() == nil {
		parts.Wait(ctx, 20*time.Millisecond)
	}
	return ctx.Err() == nil
}
