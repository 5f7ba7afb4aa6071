package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/examples/saga/services"
	"github.com/cdc-relay/cdc-relay/internal/demo/parts"
	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// customers order at a steady rate. One who is not answered sends the same order again until he is.
type customers struct {
	shop string
	rate int
}

// run orders until ctx ends, and until every order that was sent is accepted, or all has ended.
func (c *customers) run(ctx, all context.Context) error {
	var group errgroup.Group
	group.SetLimit(16)
	tick := time.NewTicker(time.Second / time.Duration(c.rate))
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-tick.C:
		}
		order := services.Order{
			ID: fmt.Sprintf("o-%d-%s", n, host.Random()), Customer: fmt.Sprintf("customer-%d", 1+rand.IntN(services.Customers)),
			Item: fmt.Sprintf("item-%d", 1+rand.IntN(services.Items)), Amount: 100 + rand.Int64N(900),
		}
		group.Go(func() error { return c.order(all, order) })
	}
}

func (c *customers) order(ctx context.Context, o services.Order) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write an order: %w", err)
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.shop+"/orders", bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("order: %w", err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusAccepted {
				return nil
			}
			err = fmt.Errorf("the shop says %s", answer.Status)
		}
		if parts.Wait(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("order %s for a minute: %w", o.ID, err)
		}
	}
}
