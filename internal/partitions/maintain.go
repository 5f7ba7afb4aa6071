package partitions

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Maintain does what is due for one table, each step in a transaction of its own, and says what it did and what waits.
// It needs a connection for itself, outside a transaction. An error means that the rest was not looked at; the report
// holds what was done before it. What is only in the way for now (a lock, a snapshot, a mark) is no error.
func Maintain(ctx context.Context, conn *pgx.Conn, o Options) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, fmt.Errorf("maintain partitions: %w", err)
	}
	m := &maintenance{conn: conn, o: o}
	err := m.run(ctx)
	return m.report, err
}

type maintenance struct {
	conn   *pgx.Conn
	o      Options
	report Report

	today time.Time // its first moment, UTC
	list  []Partition
}

func (m *maintenance) run(ctx context.Context) error {
	var kind string
	if m.o.Now.IsZero() {
		if err := m.conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&m.o.Now); err != nil {
			return wrap("maintain", m.o.Table, err)
		}
	}
	m.today = m.o.Now.UTC().Truncate(24 * time.Hour) // from the zero time on, which a UTC day begins at
	if err := m.conn.QueryRow(ctx, "SELECT cdc_relay.partition_kind_v1($1)", m.o.Table).Scan(&kind); err != nil {
		return wrap("maintain", m.o.Table, err)
	}
	switch kind {
	case "plain":
		return m.delete(ctx)
	case "days":
	default:
		return wrap("maintain", m.o.Table, ErrLayout)
	}
	if err := m.refresh(ctx); err != nil {
		return err
	}
	if err := m.makeDays(ctx); err != nil {
		return err
	}
	if err := m.retire(ctx); err != nil {
		return err
	}
	if err := m.refresh(ctx); err != nil {
		return err
	}
	for covered(m.list, m.today.AddDate(0, 0, m.report.PremadeDays+1)) && m.report.PremadeDays < 1000 {
		m.report.PremadeDays++
	}
	return nil
}

func (m *maintenance) refresh(ctx context.Context) (err error) {
	m.list, err = List(ctx, m.conn, m.o.Table)
	return err
}

// pid is the fence as the functions want it.
func (m *maintenance) pid() *int64 {
	if m.o.WalsenderPID == 0 {
		return nil
	}
	pid := int64(m.o.WalsenderPID)
	return &pid
}

// step runs one statement in a transaction, with time limits, and again while a lock cannot be had. held says that it was
// given up; any other error is returned.
func (m *maintenance) step(ctx context.Context, hold time.Duration, sql string, args, dest []any) (held string, err error) {
	for attempt := 1; ; attempt++ {
		err = pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true)",
				fmt.Sprint(m.o.LockTimeout.Milliseconds()), fmt.Sprint(hold.Milliseconds())); err != nil {
				return err
			}
			return tx.QueryRow(ctx, sql, args...).Scan(dest...)
		})
		held = inTheWay(err)
		if held == "" || attempt >= m.o.Attempts {
			break
		}
		timer := time.NewTimer(m.o.LockTimeout)
		select {
		case <-ctx.Done():
			timer.Stop()
			return "", context.Cause(ctx)
		case <-timer.C:
		}
	}
	if held != "" {
		return held, nil
	}
	return "", err
}

// inTheWay says what may have gone away by the next call; "": nothing of that kind.
func inTheWay(err error) string {
	switch code(err) {
	case "55P03": // lock_not_available
		return "locked by a transaction that is open"
	case "57014": // query_canceled
		return "took longer than the hold timeout"
	case "40P01", "40001", "23505": // deadlock_detected, serialization_failure; unique_violation in the catalog: two make it
		return "another transaction was in the way"
	case "23514": // check_violation, by ATTACH
		return "rows of that day came into the default partition meanwhile"
	case "42P07": // duplicate_table
		return "a table of its name is there and is no partition: attach, rename or drop it"
	case "2BP01": // dependent_objects_still_exist
		return "other objects depend on it: " + err.Error()
	}
	return ""
}

// delete takes rows from a plain table, when asked.
func (m *maintenance) delete(ctx context.Context) error {
	if m.o.DeleteRows == 0 {
		return nil
	}
	var why *string
	held, err := m.step(ctx, 0, "SELECT deleted, why FROM cdc_relay.outbox_delete_v1($1, $2, $3, $4, $5, $6)",
		[]any{m.o.Slot, m.pid(), m.o.Table, m.o.Keep, m.o.DeleteRows, m.o.Now}, []any{&m.report.Deleted, &why})
	if err != nil {
		return wrap("delete old rows", m.o.Table, err)
	}
	if why != nil {
		held = *why
	}
	if held != "" {
		m.report.wait(m.o.Table, held)
	}
	return nil
}
