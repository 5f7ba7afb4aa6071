package inboxtest

import (
	"context"
	"errors"
	"slices"

	"github.com/cdc-relay/cdc-relay/inbox"
)

func (b *bed[T]) batchOf(p *inbox.Processor[T], want []inbox.Outcome, ms ...*inbox.Message) error {
	b.Helper()
	got, err := p.ProcessBatch(b.Context(), ms)
	if !slices.Equal(got, want) {
		b.Fatalf("batch: %v, %v; want %v", got, err, want)
	}
	return err
}

// One transaction for the fresh ones, in their order; duplicates inside and outside of the batch are known.
func (b *bed[T]) batch() {
	var runs [][]string
	p, err := inbox.NewBatchProcessor(b.f.Store, b.consumer, func(ctx context.Context, tx T, ms []*inbox.Message) error {
		var ids []string
		for _, m := range ms {
			ids = append(ids, m.ID)
			if err := b.apply(ctx, tx, m); err != nil {
				return err
			}
		}
		runs = append(runs, ids)
		return nil
	}, inbox.Options{})
	if err != nil {
		b.Fatal(err)
	}
	old := message(NewID(), "k", 0)
	b.want(p, old, inbox.Processed)
	a, c, d := message(randomID(), "k", 1), message(NewID(), "l", 2), message("not-a-uuid", "", 3)
	const done, dup = inbox.Processed, inbox.Duplicate
	if err := b.batchOf(p, []inbox.Outcome{done, dup, done, dup, done, dup}, d, again(old), c, again(c), a, again(d)); err != nil {
		b.Fatal(err)
	}
	if len(runs) != 2 || !slices.Equal(runs[1], []string{d.ID, c.ID, a.ID}) {
		b.Errorf("the handler was given %v, want %s %s %s at once", runs, d.ID, c.ID, a.ID)
	}
	if err := b.batchOf(p, []inbox.Outcome{dup, dup, dup}, again(a), again(c), again(d)); err != nil {
		b.Fatal(err)
	}
	b.wantEffects(old.ID, d.ID, c.ID, a.ID)
}

// The one to blame is found, the others take effect, in order.
func (b *bed[T]) batchCulprit() {
	var bad string
	p := b.processor(func(ctx context.Context, tx T, m *inbox.Message) error {
		if err := b.apply(ctx, tx, m); err != nil {
			return err
		}
		if m.ID == bad {
			return inbox.Permanent(errors.New("poison"))
		}
		return nil
	}, inbox.Options{})
	a, c, d, e := message(NewID(), "k", 1), message(NewID(), "l", 2), message(NewID(), "l", 3), message(NewID(), "k", 4)
	bad = c.ID
	want := []inbox.Outcome{inbox.Processed, inbox.DeadLettered, inbox.Parked, inbox.Processed}
	if err := b.batchOf(p, want, a, c, d, e); err != nil {
		b.Fatal(err)
	}
	b.wantEffects(a.ID, e.ID)
	b.wantLetters(1, 1)
	// The next batch finds the key parked in the claim's own statement.
	f, g := message(NewID(), "l", 5), message(NewID(), "k", 6)
	if err := b.batchOf(p, []inbox.Outcome{inbox.Parked, inbox.Processed}, f, g); err != nil {
		b.Fatal(err)
	}
	b.wantLetters(1, 2)
}

// A message that may work later stops the batch there: what stands before it is done, what stands behind it is not.
func (b *bed[T]) batchFails() {
	var bad string
	later := errors.New("later")
	p := b.processor(func(ctx context.Context, tx T, m *inbox.Message) error {
		if m.ID == bad {
			return later
		}
		return b.apply(ctx, tx, m)
	}, inbox.Options{})
	a, c, d := message(NewID(), "k", 1), message(NewID(), "k", 2), message(NewID(), "k", 3)
	bad = c.ID
	if err := b.batchOf(p, []inbox.Outcome{inbox.Processed}, a, c, d); !errors.Is(err, later) {
		b.Fatalf("error %v, want that of the second message", err)
	}
	b.wantEffects(a.ID)
	bad = ""
	if err := b.batchOf(p, []inbox.Outcome{inbox.Duplicate, inbox.Processed, inbox.Processed}, again(a), again(c), again(d)); err != nil {
		b.Fatal(err)
	}
	b.wantEffects(a.ID, c.ID, d.ID)
}

// Positions: the first contact writes the start, an end without a word is seen, watermarks only rise.
func (b *bed[T]) places() {
	s, at := b.f.Store, inbox.Place{Topic: "orders", Partition: 3}
	first, err := s.Open(b.Context(), b.consumer, at, 7)
	if err != nil || !first.First || !first.Clean || first.Start != 7 || first.Watermark != 7 {
		b.Fatalf("first contact: %+v, %v", first, err)
	}
	save := func(st inbox.PlaceState, clean bool, watermark int64) {
		b.Helper()
		if err := s.Save(b.Context(), b.consumer, clean, inbox.Progress{Place: at, Epoch: st.Epoch, Watermark: watermark}); err != nil {
			b.Fatal(err)
		}
	}
	save(first, false, 20)
	save(first, false, 15)
	second, err := s.Open(b.Context(), b.consumer, at, 0)
	if err != nil || second.First || second.Clean || second.Start != 7 || second.Watermark != 20 {
		b.Fatalf("after an unclean end: %+v, %v", second, err)
	}
	save(second, true, 30)
	third, err := s.Open(b.Context(), b.consumer, at, 0)
	if err != nil || !third.Clean || third.Watermark != 30 {
		b.Fatalf("after a clean end: %+v, %v", third, err)
	}
	all, err := s.Look(b.Context(), b.consumer, "orders")
	if err != nil || len(all) != 1 || all[0].Watermark != 30 || all[0].Clean {
		b.Fatalf("look: %+v, %v", all, err)
	}
	if none, err := s.Look(b.Context(), "nobody", ""); err != nil || len(none) != 0 {
		b.Fatalf("look for a consumer that never was: %+v, %v", none, err)
	}
	if _, err := s.Open(b.Context(), b.consumer, inbox.Place{Topic: "x"}, -1); err == nil {
		b.Error("a partition was opened at offset -1")
	}
}

// An owner that was overtaken saves nothing, and does not make the other one's end look clean.
func (b *bed[T]) placesFence() {
	s, at, other := b.f.Store, inbox.Place{Topic: "orders", Partition: 3}, inbox.Place{Topic: "orders", Partition: 4}
	zombie, err := s.Open(b.Context(), b.consumer, at, 0)
	if err != nil {
		b.Fatal(err)
	}
	still, err := s.Open(b.Context(), b.consumer, other, 0)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Open(b.Context(), b.consumer, at, 0); err != nil {
		b.Fatal(err)
	}
	err = s.Save(b.Context(), b.consumer, true, inbox.Progress{Place: at, Epoch: zombie.Epoch, Watermark: 99}, inbox.Progress{Place: other, Epoch: still.Epoch, Watermark: 5})
	if !errors.Is(err, inbox.ErrFenced) {
		b.Errorf("a zombie saved: %v", err)
	}
	all, err := s.Look(b.Context(), b.consumer, "")
	if err != nil || len(all) != 2 || all[0].Watermark != 0 || all[0].Clean || all[1].Watermark != 5 || !all[1].Clean {
		b.Errorf("after a zombie saved: %+v, %v", all, err)
	}
}
