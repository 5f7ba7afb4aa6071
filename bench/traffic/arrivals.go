package traffic

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/bench/lab"
)

// Arrivals say when a reader first saw each row: At[n] after Base, zero when it did not.
type Arrivals struct {
	Base    time.Time
	At      []time.Duration
	Repeats int // rows that were seen again
	count   atomic.Int64
	stop    context.CancelFunc
	done    chan struct{}
}

// Count is how many different rows were seen so far.
func (a *Arrivals) Count() int64 { return a.count.Load() }

// Close ends the reader; At and Repeats may be read after it.
func (a *Arrivals) Close() {
	a.stop()
	<-a.done
}

func (a *Arrivals) saw(n int64, at time.Duration) {
	switch {
	case n < 0 || n >= int64(len(a.At)):
	case a.At[n] != 0:
		a.Repeats++
	default:
		a.At[n] = at
		a.count.Add(1)
	}
}

// Consume reads a topic from its beginning, as a consumer would, for rows 0 to rows-1.
func Consume(ctx context.Context, b *lab.Brokers, topic string, rows int, base time.Time) (*Arrivals, error) {
	client, err := b.Client(true, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	a := &Arrivals{Base: base, At: make([]time.Duration, rows), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer client.Close()
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			now := time.Since(base)
			fetches.EachRecord(func(r *kgo.Record) { a.saw(lab.Number(r.Value), now) })
		}
	}()
	return a, nil
}

// ReadWAL reads a slot bare, for rows 0 to rows-1: what the walsender itself takes.
func ReadWAL(ctx context.Context, l *lab.Lab, slot string, rows int, base time.Time) (*Arrivals, error) {
	conn, err := lab.Receive(ctx, l.URL(), slot)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	a := &Arrivals{Base: base, At: make([]time.Duration, rows), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer func() {
			closing, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer end()
			_ = conn.Close(closing)
		}()
		_ = a.follow(ctx, conn) // that it ended early shows in the count
	}()
	return a, nil
}

func (a *Arrivals) follow(ctx context.Context, conn *pgconn.PgConn) error {
	for {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		// An Insert inside XLogData: a byte, three numbers of eight bytes, then pgoutput's own type byte.
		data, is := message.(*pgproto3.CopyData)
		if is && len(data.Data) > 25 && data.Data[0] == pglogrepl.XLogDataByteID && data.Data[25] == 'I' {
			a.saw(lab.Number(data.Data[25:]), time.Since(a.Base))
		}
	}
}
