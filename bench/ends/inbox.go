package ends

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/bench/report"
	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxpgx"
)

// InboxOptions say how large.
type InboxOptions struct {
	Claims  int // known ids that are claimed again
	Batches int // of 500 events, with the inbox and without, in turns
	DayRows int // of the day that is dropped
}

// What the inbox shall reach.
const (
	inboxBatch  = 500
	inboxP99    = time.Millisecond
	inboxRate   = 50_000
	inboxFactor = 1.15
	inboxBytes  = 110
	inboxDrop   = 50 * time.Millisecond
	accounts    = 10_000
)

// Inbox measures package inbox on one connection: duplicates, batches beside the same handler without inbox, size and retention.
func Inbox(ctx context.Context, url string, o InboxOptions, to *report.Report) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to %q: %w", url, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := inboxpgx.Migrate(ctx, conn, inboxpgx.MigrateOptions{}); err != nil {
		return err
	}
	defer func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "DROP SCHEMA cdc_inbox CASCADE; DROP TABLE account")
	}()
	_, err = conn.Exec(ctx, fmt.Sprintf(`CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
		INSERT INTO account SELECT n, 0 FROM generate_series(0, %d) n; ANALYZE account`, accounts-1))
	if err != nil {
		return fmt.Errorf("make accounts: %w", err)
	}
	b := &inboxBench{conn: conn, store: inboxpgx.New(conn), to: to}
	return errors.Join(b.duplicates(ctx, o.Claims), b.batches(ctx, o.Batches), b.day(ctx, o.DayRows))
}

type inboxBench struct {
	conn  *pgx.Conn
	store *inboxpgx.Store
	to    *report.Report
	made  uint32
}

// event is a new event with a v7 id of now.
func (b *inboxBench) event() *inbox.Message {
	b.made++
	var u inbox.UID
	binary.BigEndian.PutUint64(u[:8], uint64(time.Now().UnixMilli())<<16)
	binary.BigEndian.PutUint64(u[8:], rand.Uint64())
	binary.BigEndian.PutUint32(u[12:], b.made)
	u[6], u[8] = 0x70, u[8]&0x3f|0x80
	return &inbox.Message{Topic: "orders", Offset: int64(b.made), Key: []byte("k"), Headers: []inbox.Header{{Key: "event_id", Value: []byte(u.String())}}}
}

// duplicates claims known ids, each in a transaction of its own.
func (b *inboxBench) duplicates(ctx context.Context, n int) error {
	known := make([]*inbox.Message, 1000)
	for i := range known {
		known[i] = b.event()
	}
	p, err := inbox.NewBatchProcessor(b.store, "bench", func(context.Context, pgx.Tx, []*inbox.Message) error { return nil }, inbox.Options{})
	if err != nil {
		return err
	}
	if _, err := p.ProcessBatch(ctx, known); err != nil {
		return err
	}
	claims, whole := make([]time.Duration, 0, n), make([]time.Duration, 0, n)
	for i := range n {
		began := time.Now()
		tx, err := b.conn.Begin(ctx)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		at := time.Now()
		fresh, err := inboxpgx.Claim(ctx, tx, "bench", known[i%len(known)])
		claims = append(claims, time.Since(at))
		if err != nil || fresh {
			return fmt.Errorf("claim of a known id: fresh %v, %w", fresh, err)
		}
		if err := tx.Rollback(ctx); err != nil {
			return fmt.Errorf("roll back: %w", err)
		}
		whole = append(whole, time.Since(began))
	}
	slices.Sort(claims)
	slices.Sort(whole)
	p50, p99 := claims[n/2], claims[n*99/100]
	b.to.Add(report.Figure{
		Stage: "inbox", What: "claim of a known id", Reach: "p99 < 1 ms",
		Measured: fmt.Sprintf("p50 %.0f us, p99 %.0f us; with begin and rollback p99 %.0f us", us(p50), us(p99), us(whole[n*99/100])),
		Reached:  report.Verdict(p99 < inboxP99), Values: map[string]float64{"p50_us": us(p50), "p99_us": us(p99), "transaction_p99_us": us(whole[n*99/100])},
	})
	return nil
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// update is the handler: one UPDATE for each event, all in one round trip.
func update(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
	var batch pgx.Batch
	for _, m := range ms {
		batch.Queue("UPDATE account SET balance = balance + 1 WHERE id = $1", int32(m.Offset*7919%accounts))
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// updateEach is the same, a round trip for each.
func updateEach(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
	for _, m := range ms {
		if _, err := tx.Exec(ctx, "UPDATE account SET balance = balance + 1 WHERE id = $1", int32(m.Offset*7919%accounts)); err != nil {
			return err
		}
	}
	return nil
}

// updateSet is the same as a single statement.
func updateSet(ctx context.Context, tx pgx.Tx, ms []*inbox.Message) error {
	ids := make([]int32, len(ms))
	for i, m := range ms {
		ids[i] = int32(m.Offset * 7919 % accounts)
	}
	_, err := tx.Exec(ctx, "UPDATE account SET balance = balance + 1 WHERE id = ANY ($1)", ids)
	return err
}

// batches runs each handler with the inbox and without, in turns: what disturbs the machine disturbs both.
func (b *inboxBench) batches(ctx context.Context, n int) error {
	for _, of := range []struct {
		what, rate, factor string
		handler            inbox.BatchHandler[pgx.Tx]
		mode               inbox.Mode
	}{
		{"batch of 500, an UPDATE for each event, in a pgx.Batch", ">= 50k events/s", "<= 1.15 x", update, inbox.ByID},
		{"the same with the high-water mark", "", "", update, inbox.ByMark},
		{"batch of 500, an UPDATE for each event, one after another", "", "<= 1.15 x", updateEach, inbox.ByID},
		{"batch of 500, one UPDATE for all", "", "", updateSet, inbox.ByID},
	} {
		p, err := inbox.NewBatchProcessor(b.store, "bench", of.handler, inbox.Options{Mode: of.mode, Mark: inbox.MarkOptions{AcceptFirst: true}})
		if err != nil {
			return err
		}
		var with, without []time.Duration
		for i := range n + 5 {
			ms := b.batch(of.mode)
			began := time.Now()
			if _, err := p.ProcessBatch(ctx, ms); err != nil {
				return err
			}
			w := time.Since(began)
			ms = b.batch(of.mode)
			began = time.Now()
			if err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error { return of.handler(ctx, tx, ms) }); err != nil {
				return fmt.Errorf("the handler without inbox: %w", err)
			}
			if i >= 5 { // plans are made by then
				with, without = append(with, w), append(without, time.Since(began))
			}
		}
		slices.Sort(with)
		slices.Sort(without)
		median, bare := with[n/2], without[n/2]
		rate, factor := inboxBatch/median.Seconds(), float64(median)/float64(bare)
		f := report.Figure{
			Stage: "inbox", What: of.what, Measured: fmt.Sprintf("%.0f events/s, %.2f x the time of the handler alone", rate, factor),
			Values: map[string]float64{"events_per_second": rate, "factor": factor, "with_us": us(median), "without_us": us(bare)},
		}
		if of.factor != "" {
			f.Reach = strings.TrimPrefix(of.rate+", "+of.factor, ", ")
			f.Reached = report.Verdict((of.rate == "" || rate >= inboxRate) && factor <= inboxFactor)
		}
		b.to.Add(f)
	}
	return nil
}

func (b *inboxBench) batch(mode inbox.Mode) []*inbox.Message {
	ms := make([]*inbox.Message, inboxBatch)
	for i := range ms {
		ms[i] = b.event()
		if mode == inbox.ByMark {
			ms[i].Headers = append(ms[i].Headers, inbox.Header{Key: "cdc-source", Value: []byte("s")},
				inbox.Header{Key: "cdc-lsn", Value: fmt.Appendf(nil, "%016X", b.made)}, inbox.Header{Key: "cdc-index", Value: []byte("0")})
		}
	}
	return ms
}

// day measures what a claim takes on disk, and how long the drop of a day takes.
func (b *inboxBench) day(ctx context.Context, rows int) error {
	const day = "(now() AT TIME ZONE 'UTC')::date - 5"
	_, err := b.conn.Exec(ctx, fmt.Sprintf(`INSERT INTO cdc_inbox.claimed (id, day, consumer)
		SELECT (lpad(to_hex((extract(epoch FROM %s) * 1000)::bigint + n / 12), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 5, 15))::uuid, %s, 1
		FROM generate_series(1, %d) n`, day, day, rows))
	if err != nil {
		return fmt.Errorf("fill a day: %w", err)
	}
	var bytes int64
	if err := b.conn.QueryRow(ctx, "SELECT pg_total_relation_size('cdc_inbox.claimed_' || to_char("+day+", 'YYYYMMDD'))").Scan(&bytes); err != nil {
		return fmt.Errorf("read the size of a day: %w", err)
	}
	each := float64(bytes) / float64(rows)
	b.to.Add(report.Figure{
		Stage: "inbox", What: "a claim on disk, with its index", Reach: "<= 110 B", Measured: fmt.Sprintf("%.1f B of %d v7 ids", each, rows),
		Reached: report.Verdict(each <= inboxBytes), Values: map[string]float64{"bytes": each},
	})
	// The days before it are dropped first; then it is the only one that is left to drop.
	if _, err := b.conn.Exec(ctx, "UPDATE cdc_inbox.setting SET keep_days = 4"); err != nil {
		return fmt.Errorf("shorten the retention: %w", err)
	}
	if _, err := b.store.Maintain(ctx); err != nil {
		return err
	}
	if _, err := b.conn.Exec(ctx, "UPDATE cdc_inbox.setting SET keep_days = 3"); err != nil {
		return fmt.Errorf("shorten the retention: %w", err)
	}
	began := time.Now()
	done, err := b.store.Maintain(ctx)
	took := time.Since(began)
	if err != nil {
		return err
	}
	b.to.Add(report.Figure{
		Stage: "inbox", What: fmt.Sprintf("drop of a day of %d claims", rows), Reach: "<= 50 ms",
		Measured: fmt.Sprintf("%.1f ms (days dropped: %v)", took.Seconds()*1000, done.Dropped), Reached: report.Verdict(took <= inboxDrop && len(done.Dropped) > 0),
		Values: map[string]float64{"ms": took.Seconds() * 1000},
	})
	return nil
}
