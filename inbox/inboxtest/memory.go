package inboxtest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Tx is a transaction of the store in memory: a map of effects, for handlers under test.
type Tx struct{ s *Store }

// Set writes an effect; it is there for Store.Get once the transaction is committed.
func (tx *Tx) Set(key string, value any) { tx.s.now.effects[key] = value }

// Get reads an effect, those of this transaction included; nil when there is none.
func (tx *Tx) Get(key string) any { return tx.s.now.effects[key] }

// Add adds to a number; it begins at 0.
func (tx *Tx) Add(key string, n int) {
	before, _ := tx.Get(key).(int)
	tx.Set(key, before+n)
}

// Point is a place in a transaction where something can happen to the process or to the connection.
type Point string

// The points, in their order.
const (
	BeforeBegin  Point = "before begin"
	AfterBegin   Point = "after begin"
	AfterClaim   Point = "after claim"   // or after the mark was locked
	BeforeCommit Point = "before commit" // the handler is done
	AfterCommit  Point = "after commit"  // committed, and nobody knows
)

// Points returns all points in their order.
func Points() []Point { return []Point{BeforeBegin, AfterBegin, AfterClaim, BeforeCommit, AfterCommit} }

// ErrCrashed is what everything returns between CrashAt's point and Restart: nothing of the process is left.
var ErrCrashed = errors.New("inboxtest: the process has crashed")

var errCut = errors.New("inboxtest: connection cut")

// Store is an inbox.Store in memory. It may be used by several goroutines. Transactions run one after another, so a handler must not
// call the store's own methods for it would wait for itself.
type Store struct {
	turn  chan struct{} // held by the transaction that runs
	now   state
	crash Point
	cut   Point
	dead  bool
}

var _ inbox.Store[*Tx] = (*Store)(nil)

// state is all that is remembered; a transaction works on it and keeps the one before.
type state struct {
	claims   map[who]time.Duration
	attempts map[who]int
	letters  []inbox.Letter
	queued   map[int64]bool // letters that belong to a parked key
	parked   map[who]bool
	places   map[placeOf]inbox.PlaceState
	marks    map[markOf]inbox.Mark
	sources  map[topicOf][]string
	counts   map[topicOf]int
	effects  map[string]any
	lastID   int64
}

type who struct {
	consumer string
	id       inbox.UID
}

type placeOf struct {
	consumer string
	inbox.Place
}

type markOf struct {
	consumer string
	inbox.MarkPlace
}

type topicOf struct{ consumer, topic string }

func (s state) clone() state {
	c := s
	c.claims, c.attempts, c.queued, c.parked = maps.Clone(s.claims), maps.Clone(s.attempts), maps.Clone(s.queued), maps.Clone(s.parked)
	c.places, c.marks, c.sources, c.counts = maps.Clone(s.places), maps.Clone(s.marks), maps.Clone(s.sources), maps.Clone(s.counts)
	c.effects, c.letters = maps.Clone(s.effects), slices.Clone(s.letters)
	return c
}

// New returns an empty store.
func New() *Store {
	return &Store{turn: make(chan struct{}, 1), now: state{
		claims: map[who]time.Duration{}, attempts: map[who]int{}, queued: map[int64]bool{}, parked: map[who]bool{},
		places: map[placeOf]inbox.PlaceState{}, marks: map[markOf]inbox.Mark{}, sources: map[topicOf][]string{},
		counts: map[topicOf]int{}, effects: map[string]any{},
	}}
}

// CrashAt lets the process die at the next transaction that comes to the point: what is not committed is lost, and everything
// returns ErrCrashed until Restart.
func (s *Store) CrashAt(p Point) { s.locked(func() { s.crash = p }) }

// CutAt lets the connection break there once; the process lives, and may try again.
func (s *Store) CutAt(p Point) { s.locked(func() { s.cut = p }) }

// Restart brings the process back.
func (s *Store) Restart() { s.locked(func() { s.dead, s.crash, s.cut = false, "", "" }) }

// Get returns a committed effect; nil when there is none.
func (s *Store) Get(key string) (value any) {
	s.locked(func() { value = s.now.effects[key] })
	return value
}

func (s *Store) locked(f func()) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	f()
}

// at is called at each point of a transaction.
func (s *Store) at(p Point) error {
	switch {
	case s.dead:
		return ErrCrashed
	case s.crash == p:
		s.dead = true
		return ErrCrashed
	case s.cut == p:
		s.cut = ""
		return &inbox.DatabaseError{Err: errCut, Commit: p == AfterCommit}
	}
	return nil
}

// Tx is that of inbox.Claims.
func (s *Store) Tx(ctx context.Context, f func(ctx context.Context, tx *Tx) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return &inbox.DatabaseError{Err: context.Cause(ctx)}
	}
	defer func() { <-s.turn }()
	if err := s.at(BeforeBegin); err != nil {
		return err
	}
	before := s.now.clone()
	committed := false
	defer func() { // also after a panic
		if !committed {
			s.now = before
		}
	}()
	if err := s.at(AfterBegin); err != nil {
		return err
	}
	if err := f(ctx, &Tx{s}); err != nil {
		return err
	}
	if err := s.at(BeforeCommit); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &inbox.DatabaseError{Err: context.Cause(ctx)}
	}
	committed = true
	return s.at(AfterCommit)
}

// auto is a short transaction of the store's own; points do not count in it.
func (s *Store) auto(ctx context.Context, f func() error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return &inbox.DatabaseError{Err: context.Cause(ctx)}
	}
	defer func() { <-s.turn }()
	if s.dead {
		return ErrCrashed
	}
	return f()
}

// Claim is that of inbox.Claims.
func (s *Store) Claim(_ context.Context, _ *Tx, consumer string, asks []inbox.Ask) ([]inbox.Answer, error) {
	if !slices.IsSortedFunc(asks, func(a, b inbox.Ask) int { return bytes.Compare(a.ID[:], b.ID[:]) }) {
		return nil, errors.New("inboxtest: ids are claimed unsorted: two batches that share some would deadlock")
	}
	out := make([]inbox.Answer, len(asks))
	for i, a := range asks {
		at := who{consumer, a.ID}
		if _, known := s.now.claims[at]; known {
			continue
		}
		s.now.claims[at] = 0
		key, _ := inbox.KeyUID(a.Topic, a.Key)
		out[i] = inbox.Answer{State: inbox.Fresh, Parked: s.now.parked[who{consumer, key}]}
	}
	return out, s.at(AfterClaim)
}

// Took is that of inbox.Claims.
func (s *Store) Took(_ context.Context, _ *Tx, consumer string, ids []inbox.UID, each time.Duration) error {
	for _, id := range ids {
		s.now.claims[who{consumer, id}] = each
	}
	return nil
}

// AddAttempts is that of inbox.Claims.
func (s *Store) AddAttempts(ctx context.Context, consumer string, id inbox.UID, delta int) (n int, err error) {
	err = s.auto(ctx, func() error {
		at := who{consumer, id}
		n = max(0, s.now.attempts[at]+delta)
		s.now.attempts[at] = n
		return nil
	})
	return n, err
}

// ClearAttempts is that of inbox.Claims.
func (s *Store) ClearAttempts(_ context.Context, _ *Tx, consumer string, ids []inbox.UID) error {
	for _, id := range ids {
		delete(s.now.attempts, who{consumer, id})
	}
	return nil
}

// Wait is that of inbox.Waiter: it waits for the whole time.
func (s *Store) Wait(ctx context.Context, _ string, atMost time.Duration) error {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Maintain is that of inbox.Maintainer: there is nothing to do.
func (s *Store) Maintain(context.Context) (inbox.Maintained, error) { return inbox.Maintained{}, nil }
