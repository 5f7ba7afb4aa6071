package partitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Errors that a caller can do something about.
var (
	// ErrFenced: the walsender does not hold the slot. The caller is not the owner any more.
	ErrFenced = errors.New("not the owner of the slot")
	// ErrNotOutbox: the table is neither the native outbox nor in the publication, so the functions do not touch it.
	ErrNotOutbox = errors.New("not an outbox")
	// ErrLayout: the table is partitioned by something other than a range of one date or time column: that is its owner's
	// to maintain.
	ErrLayout = errors.New("not partitioned by time")
)

// Partition is one partition as the catalog has it.
type Partition struct {
	oid      uint32
	Name     string    // schema.name, quoted where SQL needs it
	From, To time.Time // UTC; zero: no bound at that end, and both in the default partition
	Default  bool
	Bytes    int64 // with indexes and TOAST
	// WaitsFor is the WAL position that every mark has to pass before the partition is dropped; 0: it is not due, or not yet
	// known.
	WaitsFor pglogrepl.LSN
}

// List returns the partitions of table (schema.table), oldest first, the default one last; none for a plain table.
func List(ctx context.Context, conn *pgx.Conn, table string) ([]Partition, error) {
	rows, err := conn.Query(ctx, `SELECT part, name, nullif(lower, '-infinity'), nullif(upper, 'infinity'), is_default, bytes,
		coalesce(waits_for, '0/0') FROM cdc_relay.partition_list_v1($1)`, table)
	if err != nil {
		return nil, wrap("list partitions", table, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Partition, err error) {
		var from, to *time.Time
		err = row.Scan(&p.oid, &p.Name, &from, &to, &p.Default, &p.Bytes, &p.WaitsFor)
		if from != nil {
			p.From = from.UTC()
		}
		if to != nil {
			p.To = to.UTC()
		}
		return p, err
	})
	return list, wrap("list partitions", table, err)
}

// covers tells whether the partition takes rows of the UTC day that begins at day.
func (p *Partition) covers(day time.Time) bool {
	return !p.Default && (p.From.IsZero() || p.From.Before(day.AddDate(0, 0, 1))) && (p.To.IsZero() || p.To.After(day))
}

func covered(list []Partition, day time.Time) bool {
	for i := range list {
		if list[i].covers(day) {
			return true
		}
	}
	return false
}

// wrap says what was done to which table, and turns the functions' SQLSTATEs into errors of this package.
func wrap(what, table string, err error) error {
	if err == nil {
		return nil
	}
	switch code(err) {
	case "CDR01":
		err = fmt.Errorf("%w: %w", ErrFenced, err)
	case "CDR05":
		err = fmt.Errorf("%w: %w", ErrNotOutbox, err)
	}
	return fmt.Errorf("%s of %s: %w", what, table, err)
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
