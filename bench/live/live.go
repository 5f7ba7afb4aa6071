package live

import (
	"context"
	"time"

	"github.com/cdc-relay/cdc-relay/bench/lab"
	"github.com/cdc-relay/cdc-relay/bench/report"
)

type Options struct {
	For, Warm, Delay                         time.Duration
	Rounds, Connections, Restarts, Takeovers int
}

func Stage(context.Context, *lab.Lab, Options, *report.Report) error { return nil }
func Start(context.Context, *lab.Lab, Options, *report.Report) error { return nil }
