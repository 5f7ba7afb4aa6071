package partitions

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// strays is how many rows of each UTC day are in the default partition.
type strays struct {
	days []time.Time // rising
	rows map[time.Time]int64
}

func (m *maintenance) strays(ctx context.Context) (strays, error) {
	s := strays{rows: map[time.Time]int64{}}
	rows, err := m.conn.Query(ctx, "SELECT day, count FROM cdc_relay.partition_default_v1($1)", m.o.Table)
	if err != nil {
		return s, wrap("count rows of the default partition", m.o.Table, err)
	}
	var (
		day time.Time
		n   int64
	)
	_, err = pgx.ForEachRow(rows, []any{&day, &n}, func() error {
		s.days = append(s.days, day)
		s.rows[day] = n
		m.report.DefaultRows += n
		return nil
	})
	return s, wrap("count rows of the default partition", m.o.Table, err)
}

// makeDays attaches the days that are wanted and brings strays home.
//
// While today has no partition and rows of today lie in the default one, inserts go there at this moment. An INSERT that has
// chosen the default partition and finds, once it has the lock, that its day was attached meanwhile fails with a check
// violation; and a move would hold all of them up. So today waits until it is over, and moves wait with it. Days ahead do
// no harm: rows of today still belong where they are going. For the same reason a day is moved only when Settle has passed
// since its end: created_at is when a transaction began.
func (m *maintenance) makeDays(ctx context.Context) error {
	s, err := m.strays(ctx)
	if err != nil {
		return err
	}
	live := !covered(m.list, m.today) && s.rows[m.today] > 0
	hold := time.Duration(0)
	if live {
		hold = m.o.HoldTimeout
	}

	for i := 0; i <= m.o.Premake; i++ {
		day := m.today.AddDate(0, 0, i)
		switch {
		case covered(m.list, day):
		case live && s.rows[day] > 0:
			m.report.wait(day.Format(time.DateOnly), "its rows are in the default partition, where rows of today are going: they are moved when today is over")
		default:
			if err := m.makeDay(ctx, day, hold); err != nil {
				return err
			}
		}
	}

	moves := 0
	for _, day := range s.days {
		switch {
		case !day.Before(m.today) || covered(m.list, day):
		case live:
			m.report.wait(day.Format(time.DateOnly), "its rows are in the default partition, where rows of today are going: they are moved when today is over")
		case m.o.Now.Sub(day.AddDate(0, 0, 1)) < Settle:
			m.report.wait(day.Format(time.DateOnly), "its rows are in the default partition, and transactions that began then may still add some: they are moved "+Settle.String()+" after its end")
		case moves == MaxMoves:
			m.report.wait(day.Format(time.DateOnly), "its rows are in the default partition, and this call has moved enough")
		default:
			moves++
			if err := m.makeDay(ctx, day, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *maintenance) makeDay(ctx context.Context, day time.Time, hold time.Duration) error {
	var (
		name  string
		moved *int64
	)
	held, err := m.step(ctx, hold, "SELECT coalesce(name, ''), moved FROM cdc_relay.partition_make_v1($1, $2, $3, $4)",
		[]any{m.o.Slot, m.pid(), m.o.Table, day}, []any{&name, &moved})
	switch {
	case err != nil:
		return wrap("make the partition for "+day.Format(time.DateOnly), m.o.Table, err)
	case held != "":
		m.report.wait(day.Format(time.DateOnly), held)
	case moved != nil:
		m.report.Made = append(m.report.Made, name)
		if *moved > 0 {
			m.report.Moved = append(m.report.Moved, Move{name, *moved})
			m.report.DefaultRows -= *moved
		}
	}
	return nil
}
