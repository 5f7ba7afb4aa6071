package wiring

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/ledger"
	"github.com/cdc-relay/cdc-relay/internal/metrics"
	"github.com/cdc-relay/cdc-relay/internal/partitions"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/record"
	"github.com/cdc-relay/cdc-relay/replication"
)

// Run relays as cfg says until ctx ends, then drains. A *relay.StopError carries the exit code of a stop for good. Data of
// the stdout sink goes to out, the log to errs.
func Run(ctx context.Context, cfg *config.Config, version string, out, errs io.Writer) error {
	defer limitMemory(int(cfg.Limits.MaxInFlightBytes))()
	log := Logger(cfg.Log, errs)
	m := metrics.New(version)
	rc, err := relayConfig(cfg, m, log, out)
	if err != nil {
		return err
	}
	r := relay.New(rc)
	listener, err := admin.New(adminConfig(cfg.Admin), source{r}, m.Registry)
	if err != nil {
		return err
	}
	if err := listener.Listen(ctx); err != nil {
		return err
	}
	log.Info().Str("version", version).Str("admin", listener.URL()).Msg("cdc-relay")

	// The listener outlives the drain: an orchestrator watches it.
	serving, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	var group errgroup.Group
	group.Go(func() error { return listener.Serve(serving) })
	err = r.Run(ctx)
	if err != nil {
		log.Error().Err(err).Msg("stopped")
	}
	done()
	if served := group.Wait(); err == nil {
		err = served
	}
	return err
}

// Logger writes JSON unless errs is a terminal, or as the configuration says.
func Logger(cfg config.Log, errs io.Writer) zerolog.Logger {
	text := cfg.Format == "text"
	if f, ok := errs.(*os.File); ok && cfg.Format == "auto" {
		text = term.IsTerminal(int(f.Fd()))
	}
	if text {
		errs = zerolog.ConsoleWriter{Out: errs, TimeFormat: time.TimeOnly + ".000", NoColor: os.Getenv("NO_COLOR") != ""}
	}
	level, err := zerolog.ParseLevel(cfg.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(errs).Level(level).With().Timestamp().Logger()
}

func relayConfig(cfg *config.Config, m *metrics.Relay, log zerolog.Logger, out io.Writer) (relay.Config, error) {
	open, err := sinkOf(cfg, out)
	if err != nil {
		return relay.Config{}, err
	}
	rc := relay.NewConfig()
	rc.Slot, rc.Publication = cfg.Replication.Slot, cfg.Replication.Publication
	rc.Decoder = decoderConfig(cfg)
	rc.Messages = cfg.Messages == "on"
	rc.OnReject, rc.WaitOnStop = relay.Policy(cfg.OnReject), cfg.OnStop == "wait"
	rc.MaxInFlightEvents, rc.MaxInFlightBytes, rc.MaxParked = cfg.Limits.MaxInFlightEvents, int(cfg.Limits.MaxInFlightBytes), cfg.Limits.MaxParked
	rc.DrainTimeout = cfg.DrainTimeout
	rc.Failover = func(version int) bool {
		return cfg.Replication.Failover == "on" || cfg.Replication.Failover == "auto" && version >= 170000
	}
	rc.Metrics, rc.Log, rc.Sink = m, log, open
	rc.Connect = func(ctx context.Context) (*replication.Conn, error) {
		c := replication.NewConfig(func(context.Context) (*pgconn.Config, error) {
			c, err := cfg.Database.PgxConfig("cdc-relay walsender " + cfg.Replication.Slot)
			if err != nil {
				return nil, err
			}
			return &c.Config, nil
		}, cfg.Replication.Slot, cfg.Replication.Publication)
		c.StatusInterval = cfg.Replication.StatusInterval
		return replication.Connect(ctx, c)
	}
	tables := make([]string, len(cfg.Outbox))
	for i, o := range cfg.Outbox {
		schema, table, _ := config.SplitTable(o.Table)
		tables[i] = schema + "." + table
	}
	rc.Ledger = func(ctx context.Context) (relay.Ledger, error) {
		conn, err := connect(ctx, cfg.Database, "cdc-relay control "+cfg.Replication.Slot)
		if err != nil {
			return nil, err
		}
		return ledger.New(conn, cfg.Replication.Slot, tables), nil
	}
	rc.Maintain = maintainer(cfg, log)
	return rc, nil
}

func decoderConfig(cfg *config.Config) decoder.Config {
	dc := decoder.Config{PositionHeaders: cfg.PositionHeaders, Publication: cfg.Replication.Publication}
	for _, o := range cfg.Outbox {
		schema, table, _ := config.SplitTable(o.Table)
		t := decoder.Table{
			Name: schema + "." + table, Preset: o.Preset, Columns: o.Columns, Topic: o.Topic, TopicsAllowed: o.TopicsAllowed,
			Format: o.Format, CloudEventsSource: o.CloudEventsSource,
		}
		if d := o.Debezium; o.Preset == decoder.PresetDebezium || o.Format == decoder.PresetDebezium {
			t.Debezium = record.Debezium{EventKey: d.EventKey, RouteByField: d.RouteByField, TopicReplacement: o.Topic}
			t.Topic = ""
			if o.Format == decoder.PresetDebezium {
				t.Debezium.AdditionalPlacement, t.Debezium.KeyConverter, t.Debezium.ValueConverter = d.AdditionalPlacement, d.KeyConverter, d.ValueConverter
				if d.ValueConverter == "auto" {
					t.Debezium.ValueConverter = ""
				}
			}
		}
		dc.Tables = append(dc.Tables, t)
	}
	return dc
}

func connect(ctx context.Context, d config.Database, name string) (*pgx.Conn, error) {
	c, err := d.PgxConfig(name)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, c)
}

// maintainer looks after the partitions of each table once, on a connection that lives as long.
func maintainer(cfg *config.Config, log zerolog.Logger) func(context.Context, uint32) error {
	return func(ctx context.Context, walsender uint32) error {
		conn, err := connect(ctx, cfg.Database, "cdc-relay maintenance "+cfg.Replication.Slot)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for _, o := range cfg.Outbox {
			options := partitions.NewOptions(o.Table)
			options.Slot, options.WalsenderPID = cfg.Replication.Slot, walsender
			options.Keep, options.Premake = cfg.Retention.Keep, cfg.Retention.Premake
			if cfg.Retention.PlainTables {
				options.DeleteRows = plainDeletes
			}
			report, err := partitions.Maintain(ctx, conn, options)
			line := log.Info()
			if len(report.Made)+len(report.Moved)+len(report.Dropped) == 0 && report.Deleted == 0 {
				line = log.Debug()
			}
			line.Str("table", o.Table).Strs("made", report.Made).Strs("dropped", report.Dropped).Int("moved", len(report.Moved)).
				Int64("deleted", report.Deleted).Int("waiting", len(report.Waiting)).Int("premade_days", report.PremadeDays).
				Int64("default_rows", report.DefaultRows).Msg("partitions maintained")
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// plainDeletes is how many rows of a plain table one round of maintenance deletes.
const plainDeletes = 50_000

func adminConfig(a config.Admin) admin.Config {
	c := admin.NewConfig()
	c.Listen = a.Listen
	if a.Token.IsSet() {
		c.Token = a.Token.Read
	}
	if a.TLS.Enabled {
		c.CertFile, c.KeyFile = a.TLS.CertFile, a.TLS.KeyFile
	}
	return c
}

// source shows the relay to the admin listener.
type source struct{ relay *relay.Relay }

func (s source) Live() error { return s.relay.Live() }
func (s source) Status() any { return s.relay.Status() }

func (s source) Ready() []admin.Check {
	var checks []admin.Check
	for _, c := range s.relay.Ready() {
		check := admin.Check{Name: c.Name, OK: c.Err == nil}
		if c.Err != nil {
			check.Detail = c.Err.Error()
		}
		checks = append(checks, check)
	}
	return checks
}
