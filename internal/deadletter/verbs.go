package deadletter

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// Filter narrows List and Export; the zero Filter takes everything.
type Filter struct {
	States []State // none: all
	Topic  string
	Key    []byte // nil: any
	Reason string
	After  int64 // only ids above it: the last one of the page before
}

// List returns at most limit dead letters in the order of parking, without values and headers.
func (s *Store) List(ctx context.Context, f Filter, limit int) ([]Letter, error) {
	return s.list(ctx, f, limit, false)
}

func (s *Store) list(ctx context.Context, f Filter, limit int, payload bool) ([]Letter, error) {
	var states []string
	for _, state := range f.States {
		states = append(states, string(state))
	}
	rows, err := s.conn.Query(ctx, "SELECT "+letterColumns+" FROM cdc_relay.dead_letter_list_v1($1, $2, $3, $4, $5, $6, $7, $8)",
		s.slot, states, orNull(f.Topic), f.Key, orNull(f.Reason), f.After, limit, payload)
	if err != nil {
		return nil, s.wrap("list dead letters", err)
	}
	letters, err := pgx.CollectRows(rows, scanLetter)
	return letters, s.wrap("list dead letters", err)
}

// Show returns one dead letter whole, or ErrNotFound.
func (s *Store) Show(ctx context.Context, id int64) (Letter, error) {
	letters, err := s.list(ctx, Filter{After: id - 1}, 1, true)
	if err != nil {
		return Letter{}, err
	}
	if len(letters) == 0 || letters[0].ID != id {
		return Letter{}, fmt.Errorf("dead letter %d of slot %q: %w", id, s.slot, ErrNotFound)
	}
	return letters[0], nil
}

// Selection says which rows a verb means: exactly one of its fields is set.
type Selection struct {
	IDs []int64
	Key *Key
	All bool
}

// Audit says who asked, and why; who must not be empty.
type Audit struct{ Who, Why string }

// Marking is what a verb marked for the owner.
type Marking struct {
	Marked  int64   // rows that were asked for
	Earlier int64   // rows before them, of the same keys, that a requeue by id takes along: order
	Keys    int64   // parked keys that were concerned
	Refused []int64 // ids that are unknown or resolved already
}

// Requeue marks rows to be published again. By id it takes the earlier parked rows of their keys along. By key, or all, it
// leaves rows that are marked Drop, and what is parked behind the key from now on is requeued at once.
func (s *Store) Requeue(ctx context.Context, sel Selection, by Audit) (Marking, error) {
	return s.mark(ctx, Requeue, sel, by)
}

// Drop marks rows to be given up, also those that are marked Requeue and not published yet. A key that is dropped whole
// is released; what is parked behind it from now on is requeued, since nobody has asked to drop that.
func (s *Store) Drop(ctx context.Context, sel Selection, by Audit) (Marking, error) {
	return s.mark(ctx, Drop, sel, by)
}

func (s *Store) mark(ctx context.Context, to State, sel Selection, by Audit) (Marking, error) {
	var (
		m     Marking
		scope string
		topic *string
		key   []byte
		n     int
	)
	if len(sel.IDs) > 0 {
		scope = "ids"
		n++
	}
	if sel.Key != nil {
		scope, topic, key = "key", &sel.Key.Topic, sel.Key.Key
		n++
	}
	if sel.All {
		scope = "all"
		n++
	}
	if n != 1 {
		return m, fmt.Errorf("%s dead letters of slot %q: want ids, a key or all, got %d of them", to, s.slot, n)
	}
	err := s.conn.QueryRow(ctx, "SELECT marked, earlier, keys, refused FROM cdc_relay.dead_letter_mark_v1($1, $2, $3, $4, $5, $6, $7, $8)",
		s.slot, string(to), scope, sel.IDs, topic, key, text(by.Who), text(by.Why)).Scan(&m.Marked, &m.Earlier, &m.Keys, &m.Refused)
	return m, s.wrap(string(to)+" dead letters", err)
}

// Skip files the verdict that the event at a position is passed over, in the slot's present incarnation. Done twice it
// changes nothing. ErrNotFound: the slot has no mark; ErrPassed: nothing to skip; ErrConflict: it is a dead letter.
func (s *Store) Skip(ctx context.Context, at decoder.Position, by Audit) (id int64, err error) {
	err = s.conn.QueryRow(ctx, "SELECT cdc_relay.skip_v1($1, $2, $3, $4, $5)",
		s.slot, at.Commit.String(), int64(at.Index), text(by.Who), text(by.Why)).Scan(&id)
	return id, s.wrap("skip "+at.String(), err)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
