package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/replication/internal/socket"
)

// Defaults of Config.
const (
	DefaultStatusInterval   = time.Second
	DefaultWALSenderTimeout = 10 * time.Second
	DefaultServerTimeout    = time.Minute
	DefaultWriteTimeout     = 10 * time.Second
	DefaultApplicationName  = "cdc-relay"
)

// Config says which slot to read and how. NewConfig fills in the defaults.
type Config struct {
	// Conn returns where to connect, and as whom. It is called at each Connect, so that a password file or a rotated
	// certificate is read again. The result is copied; its RuntimeParams stand, except where the stream depends on them.
	Conn func(ctx context.Context) (*pgconn.Config, error)

	Slot        string // [a-z0-9_], 63 bytes at most, as Postgres wants it
	Publication string

	// StatusInterval is the longest time between two status updates. Default 1 s.
	StatusInterval time.Duration

	// WALSenderTimeout is wal_sender_timeout of this connection alone: how long the server waits for a sign of life before
	// it gives the slot free. The keepalives of both sides, and our own socket's TCP_USER_TIMEOUT, follow it. Default 10 s, at least three
	// status intervals.
	WALSenderTimeout time.Duration

	// ServerTimeout is how long the server may be silent although it was asked to answer, while Next is reading: after that
	// Next returns ErrSilent. Decoding a large transaction of other tables can silence a healthy server, so do not make it
	// short. Default 60 s, as wal_receiver_timeout.
	ServerTimeout time.Duration

	// WriteTimeout bounds one write: longer means that the server does not read. Default 10 s.
	WriteTimeout time.Duration

	// Messages asks for logical messages (pg_logical_emit_message), all prefixes. Default false.
	Messages bool

	// ApplicationName is shown in pg_stat_activity. Default "cdc-relay".
	ApplicationName string
}

// NewConfig returns a configuration with every default filled in.
func NewConfig(conn func(ctx context.Context) (*pgconn.Config, error), slot, publication string) Config {
	return Config{
		Conn: conn, Slot: slot, Publication: publication,
		StatusInterval: DefaultStatusInterval, WALSenderTimeout: DefaultWALSenderTimeout, ServerTimeout: DefaultServerTimeout,
		WriteTimeout: DefaultWriteTimeout, ApplicationName: DefaultApplicationName,
	}
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Conn == nil {
		errs = append(errs, errors.New("no connection"))
	}
	if err := ValidSlotName(c.Slot); err != nil {
		errs = append(errs, err)
	}
	if c.Publication == "" || len(c.Publication) > 63 || strings.ContainsRune(c.Publication, 0) {
		errs = append(errs, fmt.Errorf("publication %q: a name has 1 to 63 bytes", c.Publication))
	}
	if c.StatusInterval <= 0 {
		errs = append(errs, fmt.Errorf("status interval %s: must be above 0", c.StatusInterval))
	}
	if c.WALSenderTimeout < 3*c.StatusInterval {
		errs = append(errs, fmt.Errorf("wal sender timeout %s: must be at least three status intervals (%s)", c.WALSenderTimeout, 3*c.StatusInterval))
	}
	if c.ServerTimeout <= 0 || c.WriteTimeout <= 0 {
		errs = append(errs, fmt.Errorf("server timeout %s and write timeout %s: must be above 0", c.ServerTimeout, c.WriteTimeout))
	}
	return errors.Join(errs...)
}

// ValidSlotName tells whether Postgres takes the name. Replication commands have no quoting for it.
func ValidSlotName(name string) error {
	bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }
	if name == "" || len(name) > 63 || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("slot name %q: only lower-case letters, digits and underscore, 1 to 63 of them", name)
	}
	return nil
}

// connConfig turns what Conn returned into a logical replication connection.
func (c Config) connConfig(ctx context.Context) (*pgconn.Config, error) {
	base, err := c.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the connection settings: %w", err)
	}
	cfg := base.Copy()
	ms := func(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }
	seconds := func(d time.Duration) string { return strconv.FormatInt(max(1, int64(d/time.Second)), 10) }
	params := map[string]string{
		"application_name": c.ApplicationName,
		// The server's view of us: how soon it notices that we are gone (manual, 20.3.2 and 20.6.1). No tcp_user_timeout: Linux
		// counts a window that stays closed as silence, and a reader that has no room (Wait) would lose its connection.
		"wal_sender_timeout":      ms(c.WALSenderTimeout),
		"tcp_user_timeout":        "0",
		"tcp_keepalives_idle":     seconds(c.WALSenderTimeout / 3),
		"tcp_keepalives_interval": seconds(c.WALSenderTimeout / 6),
		"tcp_keepalives_count":    "4",
		"idle_session_timeout":    "0",
		"statement_timeout":       "0",
		"lock_timeout":            "0",
	}
	for name, value := range cfg.RuntimeParams {
		params[strings.ToLower(name)] = value
	}
	// pgoutput sends the text form of each column: a default of the role or the database must not change it.
	maps.Copy(params, map[string]string{
		"replication": "database", "client_encoding": "UTF8",
		"datestyle": "ISO", "intervalstyle": "postgres", "extra_float_digits": "3", "bytea_output": "hex", "timezone": "UTC",
	})
	if params["application_name"] == "" {
		params["application_name"] = DefaultApplicationName
	}
	cfg.RuntimeParams = params

	dial, silence := cfg.DialFunc, c.WALSenderTimeout
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return socket.Wrap(conn, silence), nil
	}
	return cfg, nil
}
