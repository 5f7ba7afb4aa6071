package inboxtest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Fixture is a store under test, and a way to have effects in its transactions.
type Fixture[T any] struct {
	Store inbox.Store[T]
	// Apply adds one to the effect called key, in the transaction, and notes the order of effects.
	Apply func(ctx context.Context, tx T, key string) error
	// Effects returns the keys of all committed effects in the order of Apply.
	Effects func(t *testing.T) []string
}

// RunStore holds a store to what inbox.Store says. Its tests run at the same time on one store, each as a consumer of its own.
func RunStore[T any](t *testing.T, f Fixture[T]) {
	for name, test := range map[string]func(*bed[T]){
		"Once":               (*bed[T]).once,
		"Concurrent":         (*bed[T]).concurrent,
		"ConsumersApart":     (*bed[T]).consumersApart,
		"FailureClaimsNone":  (*bed[T]).failureClaimsNothing,
		"Skip":               (*bed[T]).skip,
		"Panic":              (*bed[T]).panics,
		"WithoutID":          (*bed[T]).withoutID,
		"Undecodable":        (*bed[T]).undecodable,
		"Batch":              (*bed[T]).batch,
		"BatchCulprit":       (*bed[T]).batchCulprit,
		"BatchFails":         (*bed[T]).batchFails,
		"Attempts":           (*bed[T]).attempts,
		"ParkKey":            (*bed[T]).parkKey,
		"ParkAlone":          (*bed[T]).parkAlone,
		"HaltOnPoison":       (*bed[T]).haltOnPoison,
		"LetterKeepsAll":     (*bed[T]).letterKeepsAll,
		"PlayInOrder":        (*bed[T]).playInOrder,
		"PlayFails":          (*bed[T]).playFails,
		"PlayThatKills":      (*bed[T]).playThatKills,
		"PlayTwice":          (*bed[T]).playTwice,
		"ParkWhilePlayed":    (*bed[T]).parkWhilePlayed,
		"PlayWhileParked":    (*bed[T]).playWhileParked,
		"Drop":               (*bed[T]).drop,
		"Places":             (*bed[T]).places,
		"PlacesFence":        (*bed[T]).placesFence,
		"Mark":               (*bed[T]).mark,
		"MarkConcurrent":     (*bed[T]).markConcurrent,
		"MarkRefuses":        (*bed[T]).markRefuses,
		"MarkTimeline":       (*bed[T]).markTimeline,
		"MarkCopies":         (*bed[T]).markCopies,
		"MarkParksAndRevive": (*bed[T]).markParks,
		"MarkPartitions":     (*bed[T]).markPartitions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(&bed[T]{T: t, f: f, consumer: NewID()})
		})
	}
}

// bed is one test's store and helpers.
type bed[T any] struct {
	*testing.T
	f        Fixture[T]
	consumer string
}

// apply is a handler whose effect is the message's id.
func (b *bed[T]) apply(ctx context.Context, tx T, m *inbox.Message) error {
	return b.f.Apply(ctx, tx, b.consumer+" "+m.ID)
}

// effects are the ids that took effect, in order.
func (b *bed[T]) effects() (ids []string) {
	b.Helper()
	for _, key := range b.f.Effects(b.T) {
		if id, ours := strings.CutPrefix(key, b.consumer+" "); ours {
			ids = append(ids, id)
		}
	}
	return ids
}

func (b *bed[T]) processor(h inbox.Handler[T], o inbox.Options) *inbox.Processor[T] {
	b.Helper()
	p, err := inbox.NewProcessor(b.f.Store, b.consumer, h, o)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bed[T]) want(p *inbox.Processor[T], m *inbox.Message, want inbox.Outcome) {
	b.Helper()
	got, err := p.Process(b.Context(), m)
	if err != nil || got != want {
		b.Fatalf("process %s: %v, %v; want %v", m.ID, got, err, want)
	}
}

func (b *bed[T]) wantEffects(want ...string) {
	b.Helper()
	if got := b.effects(); !slices.Equal(got, want) {
		b.Fatalf("effects %v, want %v", got, want)
	}
}

func (b *bed[T]) wantLetters(dead, waiting int) {
	b.Helper()
	d, w, err := b.f.Store.CountLetters(b.Context(), b.consumer)
	if err != nil || d != dead || w != waiting {
		b.Fatalf("letters: %d dead, %d waiting, %v; want %d and %d", d, w, err, dead, waiting)
	}
}

// NewID returns a new UUID, version 7.
func NewID() string {
	var u inbox.UID
	_, _ = rand.Read(u[:])
	ms := time.Now().UnixMilli()
	binary.BigEndian.PutUint64(u[:8], uint64(ms)<<16|uint64(u[6])<<8|uint64(u[7]))
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	return u.String()
}

func randomID() string {
	var u inbox.UID
	_, _ = rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u.String()
}

// message is a delivery with the headers of format plain.
func message(id, key string, offset int64, more ...inbox.Header) *inbox.Message {
	m := &inbox.Message{Topic: "orders", Offset: offset, Value: []byte(`{"id":"` + id + `"}`), Time: time.Now(), Headers: []inbox.Header{
		{Key: "event_id", Value: []byte(id)}, {Key: "event_type", Value: []byte("OrderCreated")},
	}}
	if key != "" {
		m.Key = []byte(key)
	}
	m.Headers = append(m.Headers, more...)
	_ = m.Decode()
	return m
}

// again is another delivery of m.
func again(m *inbox.Message) *inbox.Message {
	c := &inbox.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: m.Key, Value: m.Value, Time: m.Time, Headers: m.Headers}
	_ = c.Decode()
	return c
}

// A second delivery is a duplicate, whatever the id looks like.
func (b *bed[T]) once() {
	p := b.processor(b.apply, inbox.Options{})
	ids := []string{NewID(), randomID(), "order-1", "018F0000-0000-7000-8000-000000000000"} // the last one is of 2024: out of any retention
	for i, id := range ids {
		b.want(p, message(id, "k", int64(i)), inbox.Processed)
	}
	for i, id := range ids {
		b.want(p, message(id, "k", int64(10+i)), inbox.Duplicate)
	}
	b.wantEffects(ids...)
}

// Fifty at once: one effect, and the others know.
func (b *bed[T]) concurrent() {
	for _, id := range []string{NewID(), randomID()} {
		p := b.processor(b.apply, inbox.Options{})
		var mu sync.Mutex
		outcomes := map[inbox.Outcome]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				o, err := p.Process(b.Context(), message(id, "", 1))
				if err != nil {
					b.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				outcomes[o]++
			})
		}
		wg.Wait()
		if outcomes[inbox.Processed] != 1 || outcomes[inbox.Duplicate] != 49 {
			b.Errorf("50 copies at once: %v", outcomes)
		}
	}
	if n := len(b.effects()); n != 2 {
		b.Errorf("%d effects of 2 events", n)
	}
}

// Each consumer processes each event.
func (b *bed[T]) consumersApart() {
	m := message(NewID(), "k", 1)
	b.want(b.processor(b.apply, inbox.Options{}), m, inbox.Processed)
	if o, err := inbox.Process(b.Context(), b.f.Store, b.consumer+" too", again(m), b.apply); o != inbox.Processed || err != nil {
		b.Errorf("the same event for another consumer: %v, %v", o, err)
	}
	b.wantEffects(m.ID, m.ID)
}

// What failed was not claimed, and left nothing.
func (b *bed[T]) failureClaimsNothing() {
	fail := true
	broken := errors.New("broken")
	p := b.processor(func(ctx context.Context, tx T, m *inbox.Message) error {
		if err := b.apply(ctx, tx, m); err != nil || !fail {
			return err
		}
		return broken
	}, inbox.Options{})
	m := message(NewID(), "k", 1)
	o, err := p.Process(b.Context(), m)
	if o != inbox.Unfinished || !errors.Is(err, broken) || inbox.IsInfrastructure(err) || inbox.IsHalt(err) {
		b.Fatalf("a failing handler: %v, %v", o, err)
	}
	b.wantEffects()
	fail = false
	b.want(p, again(m), inbox.Processed)
	b.wantEffects(m.ID)
}

func (b *bed[T]) skip() {
	p := b.processor(func(context.Context, T, *inbox.Message) error {
		return fmt.Errorf("wrapped: %w", inbox.Skip("not ours"))
	}, inbox.Options{})
	m := message(NewID(), "k", 1)
	b.want(p, m, inbox.Skipped)
	b.want(p, again(m), inbox.Duplicate)
}

func (b *bed[T]) panics() {
	p := b.processor(func(context.Context, T, *inbox.Message) error { panic("boom") }, inbox.Options{})
	o, err := p.Process(b.Context(), message(NewID(), "k", 1))
	var pe *inbox.PanicError
	if o != inbox.Unfinished || !errors.As(err, &pe) || len(pe.Stack) == 0 {
		b.Errorf("a panic of the handler: %v, %v", o, err)
	}
	m := message(NewID(), "k", 2)
	b.want(b.processor(b.apply, inbox.Options{}), m, inbox.Processed) // nothing is held
}

// nameless is a message without an id.
func nameless(offset int64) *inbox.Message {
	return &inbox.Message{Topic: "orders", Offset: offset, Value: []byte("x"), Time: time.UnixMilli(1700000000000)}
}

// A message without an id is never given a random one.
func (b *bed[T]) withoutID() {
	h := func(ctx context.Context, tx T, _ *inbox.Message) error {
		return b.f.Apply(ctx, tx, b.consumer+" nameless")
	}
	reject := b.processor(h, inbox.Options{})
	b.want(reject, nameless(1), inbox.DeadLettered)
	b.want(reject, nameless(1), inbox.Duplicate)
	b.wantLetters(1, 0)
	b.wantEffects()

	stop := b.processor(h, inbox.Options{IDs: inbox.HaltOnNoID})
	if o, err := stop.Process(b.Context(), nameless(2)); o != inbox.Unfinished || !inbox.IsHalt(err) || !errors.Is(err, inbox.ErrNoID) {
		b.Errorf("HaltOnNoID: %v, %v", o, err)
	}

	position := b.processor(h, inbox.Options{IDs: inbox.UsePosition})
	b.want(position, nameless(3), inbox.Processed)
	b.want(position, nameless(3), inbox.Duplicate)
	b.want(position, nameless(4), inbox.Processed)
	anew := nameless(4)
	anew.Time = anew.Time.Add(time.Hour) // the topic was made anew: another message at the same place
	b.want(position, anew, inbox.Processed)
	b.wantEffects("nameless", "nameless", "nameless")
}

// An undecodable record is put aside under every policy, and holds up nobody: not even its key.
func (b *bed[T]) undecodable() {
	p := b.processor(b.apply, inbox.Options{IDs: inbox.HaltOnNoID, Poison: inbox.HaltOnPoison})
	bad := &inbox.Message{
		Topic: "orders", Offset: 1, Key: []byte("k"), Value: []byte("{not json"),
		Headers: []inbox.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=utf-8")}},
	}
	b.want(p, bad, inbox.DeadLettered)
	m := message(NewID(), "k", 2)
	b.want(p, m, inbox.Processed)
	b.wantLetters(1, 0)
	b.wantEffects(m.ID)
}

func (b *bed[T]) attempts() {
	m := message(NewID(), "k", 1)
	id, err := inbox.Identify(m, inbox.Reject)
	if err != nil {
		b.Fatal(err)
	}
	add := func(delta, want int) {
		b.Helper()
		if n, err := b.f.Store.AddAttempts(b.Context(), b.consumer, id, delta); err != nil || n != want {
			b.Fatalf("%d tries, %v; want %d", n, err, want)
		}
	}
	add(1, 1)
	add(1, 2)
	add(-1, 1)
	add(0, 1)
	m.Attempt = 1
	b.want(b.processor(b.apply, inbox.Options{}), m, inbox.Processed)
	add(0, 0)
}
