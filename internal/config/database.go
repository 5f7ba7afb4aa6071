package config

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// connectTimeout holds where the URL names none.
const connectTimeout = 10 * time.Second

// maxApplicationName is what Postgres keeps of application_name.
const maxApplicationName = 63

// PgxConfig reads the connection's settings anew, secrets included: what connects calls it each time. The application name
// and the connect timeout of the URL stand; without them they are the one given, and 10 s.
func (d Database) PgxConfig(application string) (*pgx.ConnConfig, error) {
	dsn, err := d.ConnString()
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig(dsn)
	if err != nil { // the driver masks passwords in its text
		return nil, fmt.Errorf("database.url: %w", err)
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" && application != "" {
		c.RuntimeParams["application_name"] = application[:min(len(application), maxApplicationName)]
	}
	return c, nil
}
