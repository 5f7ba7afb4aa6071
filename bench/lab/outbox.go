package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Keys is how many different partition keys the rows have.
const Keys = 1000

// pad makes an Insert of pgoutput 330 bytes long (RowBytes measures it).
const pad = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" +
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

// Payload is the JSON text of row n; jsonb keeps the order, the shorter name first.
func Payload(n int64) string { return `{"n": ` + strconv.FormatInt(n, 10) + `, "pad": "` + pad + `"}` }

// Key of row n.
func Key(n int) string { return "order-" + strconv.Itoa(n%Keys) }

// Number reads n from a payload, or from any bytes that hold one; -1 where there is none.
func Number(b []byte) int64 {
	const before = `{"n": `
	for i := 0; i+len(before) < len(b); i++ {
		if b[i] == '{' && string(b[i:i+len(before)]) == before {
			n := int64(0)
			for _, c := range b[i+len(before):] {
				if c < '0' || c > '9' {
					return n
				}
				n = n*10 + int64(c-'0')
			}
		}
	}
	return -1
}

// insertSeries inserts the rows of a generate_series, whose arguments the caller formats in.
func insertSeries() string {
	return `INSERT INTO public.outbox (aggregate_type, aggregate_id, event_type, payload)
		SELECT 'order', 'order-' || mod(i, ` + strconv.Itoa(Keys) + `), 'OrderPlaced', ('{"n": ' || i || ', "pad": "` + pad + `"}')::jsonb
		FROM generate_series(%s) AS i`
}

// Insert is the statement that inserts rows first to first+rows-1, with its arguments.
func Insert(first, rows int) (string, []any) {
	if rows == 1 {
		return "INSERT INTO public.outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('order', $1, 'OrderPlaced', $2)",
			[]any{Key(first), Payload(int64(first))}
	}
	return fmt.Sprintf(insertSeries(), "$1::int, $2::int"), []any{first, first + rows - 1}
}

// Commit commits one row by itself.
func (l *Lab) Commit(ctx context.Context, n int) error {
	sql, args := Insert(n, 1)
	return l.Exec(ctx, sql, args...)
}

// Fill commits rows in transactions of that many each, as fast as it can: not a measurement, so nobody waits for the disk.
func (l *Lab) Fill(ctx context.Context, rows, transaction int) error {
	from := time.Now()
	body := fmt.Sprintf(insertSeries(), "at, least(at + "+strconv.Itoa(transaction)+", "+strconv.Itoa(rows)+") - 1")
	if transaction >= rows {
		body = fmt.Sprintf(insertSeries(), "0, "+strconv.Itoa(rows-1))
		if err := l.Exec(ctx, "SET synchronous_commit = off; "+body); err != nil {
			return fmt.Errorf("fill the outbox: %w", err)
		}
	} else if err := l.fillMany(ctx, rows, transaction, body); err != nil {
		return fmt.Errorf("fill the outbox: %w", err)
	}
	if err := l.Flush(ctx); err != nil {
		return err
	}
	l.Say("filled %d rows in transactions of %d in %.1f s", rows, transaction, time.Since(from).Seconds())
	return nil
}

func (l *Lab) fillMany(ctx context.Context, rows, transaction int, body string) error {
	err := l.Exec(ctx, "CREATE OR REPLACE PROCEDURE public.fill() LANGUAGE plpgsql AS $$ BEGIN FOR at IN 0 .. "+strconv.Itoa(rows-1)+" BY "+
		strconv.Itoa(transaction)+" LOOP "+body+"; COMMIT; END LOOP; END $$")
	if err != nil {
		return err
	}
	return l.with(ctx, func(conn *pgx.Conn) error {
		for _, sql := range []string{"SET synchronous_commit = off", "CALL public.fill()"} { // a procedure that commits must come alone
			if err := conn.PgConn().Exec(ctx, sql).Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Empty forgets all rows, so that the table of one stage does not weigh on the next.
func (l *Lab) Empty(ctx context.Context) error {
	return l.Exec(ctx, "TRUNCATE public.outbox")
}

// RowBytes returns how long the Insert of one row is in pgoutput, without the frames around it.
func (l *Lab) RowBytes(ctx context.Context) (mean float64, err error) {
	slot, err := l.NewSlot(ctx)
	if err != nil {
		return 0, err
	}
	if err := l.Fill(ctx, 1000, 1000); err != nil {
		return 0, err
	}
	err = l.Query(ctx, `SELECT avg(length(data))::float8 FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		'proto_version', '1', 'publication_names', $2) WHERE get_byte(data, 0) = ascii('I')`, &mean, slot, Publication)
	if err != nil {
		return 0, fmt.Errorf("measure a row: %w", err)
	}
	return mean, l.DropSlot(ctx, slot)
}
