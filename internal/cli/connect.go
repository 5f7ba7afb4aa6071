package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

// PgConfig returns a function that reads the connection's settings anew, secrets included: what connects calls it each
// time. connect_timeout of the URL stands; without one it is 10 s.
func PgConfig(d config.Database) func(ctx context.Context) (*pgconn.Config, error) {
	return func(context.Context) (*pgconn.Config, error) {
		c, err := pgxConfig(d, "")
		if err != nil {
			return nil, err
		}
		return &c.Config, nil
	}
}

func pgxConfig(d config.Database, application string) (*pgx.ConnConfig, error) {
	c, err := d.PgxConfig(application)
	if err != nil {
		return nil, Exit(Invalid, err)
	}
	return c, nil
}

// Connect opens a connection for a verb; verb becomes part of its application_name. The caller closes it.
func (p *Program) Connect(ctx context.Context, d config.Database, verb string) (*pgx.Conn, error) {
	c, err := pgxConfig(d, "cdc-relay "+verb)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		where := fmt.Sprintf("connect to database %q at %s:%d as %q", c.Database, c.Host, c.Port, c.User)
		return nil, connectError(where, err)
	}
	return conn, nil
}

// connectError gives a refusal its cure and code. The driver's text repeats user and database and is left out.
func connectError(where string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("%s: %w; is the server up, and database.url right?", where, cause(err))
	}
	cure := ""
	switch pg.Code {
	case "28P01":
		cure = "; check database.password_file, the URL or PGPASSWORD"
	case "28000":
		cure = "; check pg_hba.conf and the role (the migrate verbs make it with --create-role)"
	case "3D000":
		cure = "; name an existing database in database.url"
	case "53300":
		return fmt.Errorf("%s: %s (SQLSTATE %s)", where, pg.Message, pg.Code)
	case "57P03":
		return fmt.Errorf("%s: %s; the server is starting or stopping, try again", where, pg.Message)
	}
	return &ExitError{Code: Precondition, Err: fmt.Errorf("%s: %s (SQLSTATE %s)%s", where, pg.Message, pg.Code, cure)}
}

// cause is the innermost error: the ones around it repeat the address.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	if joined, is := err.(interface{ Unwrap() []error }); is {
		if all := joined.Unwrap(); len(all) > 0 {
			return cause(all[len(all)-1])
		}
	}
	return err
}

// User is the role that a connection string names, "" when it cannot be known.
func User(d config.Database) (string, error) {
	c, err := pgxConfig(d, "")
	if err != nil {
		return "", err
	}
	return c.User, nil
}

// Explain gives an error of the database its hint and detail, and the exit code that its SQLSTATE means.
func Explain(err error) error {
	var pg *pgconn.PgError
	if err == nil || !errors.As(err, &pg) {
		return err
	}
	for _, more := range []string{pg.Detail, pg.Hint} {
		if more != "" && !strings.Contains(err.Error(), more) {
			err = fmt.Errorf("%w: %s", err, more)
		}
	}
	switch {
	case pg.Code == "42501", strings.HasPrefix(pg.Code, "28"):
		return Exit(Precondition, fmt.Errorf("%w; connect as a role that may (migrate.url names the owner)", err))
	case pg.Code == "3F000", pg.Code == "42P01", pg.Code == "42883":
		return Exit(Precondition, fmt.Errorf("%w; run `cdc-relay migrate up` first", err))
	}
	return err
}
