package relay

import (
	"context"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// Ledger is an ordinary connection to the database, as the relay uses it: the slot's row in pg_replication_slots, the mark,
// the dead letters. internal/ledger has the real one. It is used by one goroutine at a time.
//
// Methods that take pid are the owner's writes: they do nothing, and return an error that is checkpoint.ErrFenced, unless
// pid is the walsender that holds the slot.
type Ledger interface {
	Protocol(ctx context.Context) (checkpoint.Protocol, error)

	// Slot returns nil when there is none. Read it before Mark: a healthy owner writes the mark first.
	Slot(ctx context.Context) (*checkpoint.Slot, error)
	Read(ctx context.Context) (*checkpoint.Mark, error)

	// The first start: the lock is held by this connection until Unlock or its end.
	Lock(ctx context.Context) (bool, error)
	Unlock(ctx context.Context) error
	Intent(ctx context.Context, m checkpoint.Mark) error
	Complete(ctx context.Context, nonce string, lsn pglogrepl.LSN) error
	OlderRows(ctx context.Context) (int64, error) // rows of the outbox at this moment

	// Inspect holds the publication against the outbox tables and, unless mark is nil or an intent, against the one that the
	// mark was written with. It returns what a person should know, and as an error what forbids to read with it.
	Inspect(ctx context.Context, publication string, mark *checkpoint.Mark) (notes []string, err error)

	// Messages: who may write them; the spans in which they are events, of those that can concern what commits after the mark;
	// and the beginning or the end of one, before anything is decoded.
	MessageRights(ctx context.Context) (checkpoint.MessageRights, error)
	MessageSpans(ctx context.Context, mark *checkpoint.Mark) ([]checkpoint.MessageSpan, error)
	SwitchMessages(ctx context.Context, pid uint32, incarnation string, on bool) error

	Write(ctx context.Context, pid uint32, u checkpoint.Update) error
	Sample(ctx context.Context) (checkpoint.Sample, error)

	Keys(ctx context.Context) ([]deadletter.Key, error)
	Verdicts(ctx context.Context, incarnation string, after pglogrepl.LSN) ([]deadletter.Verdict, error)
	Park(ctx context.Context, pid uint32, letters []deadletter.Letter) ([]deadletter.Filed, error)
	Pending(ctx context.Context, limit int, underWay ...int64) ([]deadletter.Letter, error)
	Done(ctx context.Context, pid uint32, results []deadletter.Result) (released []deadletter.Key, err error)
	Requeue(ctx context.Context, key deadletter.Key) error // all that is parked under the key, and what will be while it drains
	Counts(ctx context.Context) (deadletter.Counts, error)
	Prune(ctx context.Context, pid uint32, mark pglogrepl.LSN) error

	Close(ctx context.Context) error
}
