package inboxtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// picky is a handler that finds one id, and whatever stands in bad, permanently wrong, after it has written.
type picky[T any] struct {
	b   *bed[T]
	bad map[string]bool
}

func (p *picky[T]) handle(ctx context.Context, tx T, m *inbox.Message) error {
	if err := p.b.apply(ctx, tx, m); err != nil {
		return err
	}
	if p.bad[m.ID] {
		return inbox.Permanent(errors.New("poison"))
	}
	return nil
}

// parked brings two messages of key k aside, the first one dead, and returns them.
func (b *bed[T]) parked(o inbox.Options) (*inbox.Processor[T], *picky[T], []*inbox.Message) {
	b.Helper()
	h := &picky[T]{b, map[string]bool{}}
	p := b.processor(h.handle, o)
	ms := []*inbox.Message{message(NewID(), "k", 1), message(NewID(), "k", 2), message(NewID(), "k", 3)}
	h.bad[ms[0].ID] = true
	b.want(p, ms[0], inbox.DeadLettered)
	b.want(p, ms[1], inbox.Parked)
	b.want(p, ms[2], inbox.Parked)
	return p, h, ms
}

func (b *bed[T]) playable() []inbox.Playable {
	b.Helper()
	out, err := b.f.Store.Playable(b.Context(), b.consumer, "orders", []int32{0, 7}, 10)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bed[T]) judge(id int64, v inbox.Verdict) {
	b.Helper()
	if n, err := b.f.Store.Judge(b.Context(), b.consumer, []int64{id}, v); err != nil || n != 1 {
		b.Fatalf("judge %d: %d, %v", id, n, err)
	}
}

// letters returns the ids of all letters in order.
func (b *bed[T]) letters() (ids []int64) {
	b.Helper()
	all, err := b.f.Store.ListLetters(b.Context(), b.consumer, inbox.LetterFilter{}, 100)
	if err != nil {
		b.Fatal(err)
	}
	for i := range all {
		ids = append(ids, all[i].ID)
	}
	return ids
}

// Poison parks its key: later events of the key wait, other keys flow, nothing of the handler stays, and each copy is known.
func (b *bed[T]) parkKey() {
	p, _, ms := b.parked(inbox.Options{})
	other := message(NewID(), "l", 4)
	b.want(p, other, inbox.Processed)
	for _, m := range ms {
		b.want(p, again(m), inbox.Duplicate)
	}
	b.wantEffects(other.ID)
	b.wantLetters(1, 2)
	if got := b.playable(); len(got) != 0 {
		b.Errorf("without a verdict %v is to be played", got)
	}
}

func (b *bed[T]) parkAlone() {
	h := &picky[T]{b, map[string]bool{}}
	p := b.processor(h.handle, inbox.Options{Poison: inbox.Park})
	bad, next := message(NewID(), "k", 1), message(NewID(), "k", 2)
	h.bad[bad.ID] = true
	b.want(p, bad, inbox.DeadLettered)
	b.want(p, next, inbox.Processed)
	clear(h.bad)
	b.judge(b.letters()[0], inbox.Retry)
	if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.Processed || err != nil {
		b.Errorf("play: %v, %v", o, err)
	}
	b.wantEffects(next.ID, bad.ID)
	b.wantLetters(0, 0)
}

func (b *bed[T]) haltOnPoison() {
	h := &picky[T]{b, map[string]bool{}}
	p := b.processor(h.handle, inbox.Options{Poison: inbox.HaltOnPoison})
	m := message(NewID(), "k", 1)
	h.bad[m.ID] = true
	if o, err := p.Process(b.Context(), m); o != inbox.Unfinished || !inbox.IsHalt(err) || !errors.Is(err, inbox.ErrPoison) {
		b.Errorf("HaltOnPoison: %v, %v", o, err)
	}
	b.wantLetters(0, 0)
	b.wantEffects()
}

// A letter is the message, byte for byte, nulls included.
func (b *bed[T]) letterKeepsAll() {
	p := b.processor(b.apply, inbox.Options{})
	m := message(NewID(), "", 4711, inbox.Header{Key: "null"}, inbox.Header{Key: "empty", Value: []byte{}}, inbox.Header{Key: "bytes \xff", Value: []byte{0, 255, '"', '\\'}})
	m.Partition, m.Key, m.Value = 7, []byte{}, nil
	m.Time = time.UnixMilli(1700000000123)
	if o, err := p.DeadLetter(b.Context(), m, "attempts", errors.New("bad \x00 \xff text"), 5); o != inbox.DeadLettered || err != nil {
		b.Fatalf("dead letter: %v, %v", o, err)
	}
	all, err := b.f.Store.ListLetters(b.Context(), "", inbox.LetterFilter{IDs: b.letters(), Topic: "orders", Key: []byte{}}, 1)
	if err != nil || len(all) != 1 {
		b.Fatalf("list: %v, %v", all, err)
	}
	l := all[0]
	g := &l.Message
	id, _ := inbox.ParseUID(m.ID)
	if l.UID != id || l.Consumer != b.consumer || l.Reason != "attempts" || l.Attempts != 5 || l.Waiting || l.Verdict != inbox.NoVerdict || !strings.HasPrefix(l.Error, "bad ") {
		b.Errorf("letter %+v", l)
	}
	if g.Topic != m.Topic || g.Partition != 7 || g.Offset != 4711 || g.Key == nil || len(g.Key) != 0 || g.Value != nil || !g.Time.Equal(m.Time) {
		b.Errorf("its message %+v", g)
	}
	if !slices.EqualFunc(g.Headers, m.Headers, func(x, y inbox.Header) bool {
		return x.Key == y.Key && string(x.Value) == string(y.Value) && (x.Value == nil) == (y.Value == nil)
	}) {
		b.Errorf("its headers %+v", g.Headers)
	}
}

// A key is played back in its order, though the verdict names a later letter; the last one releases it.
func (b *bed[T]) playInOrder() {
	p, h, ms := b.parked(inbox.Options{})
	clear(h.bad)
	ids := b.letters()
	b.judge(ids[2], inbox.Retry)
	for i := range ms {
		next := b.playable()
		if len(next) != 1 || next[0].ID != ids[i] {
			b.Fatalf("to be played is %v, want letter %d", next, ids[i])
		}
		if i == 1 { // still parked: what comes now waits behind
			late := message(NewID(), "k", 9)
			b.want(p, late, inbox.Parked)
			ms = append(ms, late)
		}
		if o, err := p.Play(b.Context(), next[0]); o != inbox.Processed || err != nil {
			b.Fatalf("play: %v, %v", o, err)
		}
	}
	if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.Processed || err != nil {
		b.Fatalf("play the late one: %v, %v", o, err)
	}
	b.wantLetters(0, 0)
	free := message(NewID(), "k", 10)
	b.want(p, free, inbox.Processed)
	b.want(p, again(ms[0]), inbox.Duplicate) // the claim is still there
	b.wantEffects(ms[0].ID, ms[1].ID, ms[2].ID, ms[3].ID, free.ID)
}

// A letter that fails again stays, dead, and what waits behind it goes on waiting.
func (b *bed[T]) playFails() {
	p, h, ms := b.parked(inbox.Options{})
	ids := b.letters()
	b.judge(ids[0], inbox.Retry)
	if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.DeadLettered || err == nil {
		b.Fatalf("play what fails again: %v, %v", o, err)
	}
	b.wantLetters(1, 2)
	b.wantEffects()
	if got := b.playable(); len(got) != 0 {
		b.Errorf("after a failed play %v is to be played", got)
	}
	all, err := b.f.Store.ListLetters(b.Context(), b.consumer, inbox.LetterFilter{IDs: ids[:1]}, 1)
	if err != nil || len(all) != 1 || all[0].Attempts != 2 || all[0].Error != "poison" {
		b.Errorf("after a failed play: %+v, %v", all, err)
	}
	// Of those behind it, one that fails stops the rest.
	clear(h.bad)
	h.bad[ms[1].ID] = true
	b.judge(ids[0], inbox.Retry)
	if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.Processed || err != nil {
		b.Fatalf("play: %v, %v", o, err)
	}
	if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.DeadLettered || err == nil {
		b.Fatalf("play the second: %v, %v", o, err)
	}
	b.wantLetters(1, 1)
	if got := b.playable(); len(got) != 0 {
		b.Errorf("behind a dead letter %v is to be played", got)
	}
	b.wantEffects(ms[0].ID)
}

// A letter whose play ends the process is counted before it runs, and is not played again by itself.
func (b *bed[T]) playThatKills() {
	_, _, _ = b.parked(inbox.Options{})
	id := b.letters()[0]
	b.judge(id, inbox.Retry)
	if err := b.f.Store.BeginPlay(b.Context(), b.consumer, id); err != nil { // and then the process is gone
		b.Fatal(err)
	}
	if got := b.playable(); len(got) != 0 {
		b.Errorf("%v is to be played again", got)
	}
	all, err := b.f.Store.ListLetters(b.Context(), b.consumer, inbox.LetterFilter{IDs: []int64{id}}, 1)
	if err != nil || len(all) != 1 || all[0].Attempts != 2 || !strings.Contains(all[0].Error, "no result came back") {
		b.Errorf("%+v, %v", all, err)
	}
	if err := b.f.Store.EndPlay(b.Context(), b.consumer, id, "database away", true); err != nil { // or the database was
		b.Fatal(err)
	}
	if got := b.playable(); len(got) != 1 {
		b.Errorf("after a database error %v is to be played, want the letter again", got)
	}
}

// Two who play the same letter: one effect.
func (b *bed[T]) playTwice() {
	p, h, ms := b.parked(inbox.Options{})
	clear(h.bad)
	b.judge(b.letters()[0], inbox.Retry)
	l, last := b.playable()[0], b.letters()[2]
	if o, err := p.Play(b.Context(), l); o != inbox.Processed || err != nil {
		b.Fatal(o, err)
	}
	if o, err := p.Play(b.Context(), l); o != inbox.Duplicate || !errors.Is(err, inbox.ErrGone) {
		b.Errorf("played twice: %v, %v", o, err)
	}
	if err := b.f.Store.Tx(b.Context(), func(ctx context.Context, tx T) error {
		_, err := b.f.Store.TakeLetter(ctx, tx, b.consumer, last)
		return err
	}); !errors.Is(err, inbox.ErrGone) {
		b.Errorf("a letter was taken before the one it waits for: %v", err)
	}
	b.wantEffects(ms[0].ID)
}

// Whoever parks behind a key waits for the one who plays its last letter, and finds the key released: nothing is stranded.
func (b *bed[T]) parkWhilePlayed() {
	h := &picky[T]{b, map[string]bool{}}
	p := b.processor(h.handle, inbox.Options{})
	bad, next := message(NewID(), "k", 1), message(NewID(), "k", 2)
	h.bad[bad.ID] = true
	b.want(p, bad, inbox.DeadLettered)
	b.judge(b.letters()[0], inbox.Retry)

	playing, release := make(chan struct{}), make(chan struct{})
	player := b.processor(func(ctx context.Context, tx T, m *inbox.Message) error {
		close(playing)
		<-release
		return b.apply(ctx, tx, m)
	}, inbox.Options{})
	played, parked := make(chan error, 1), make(chan inbox.Outcome, 1)
	l := b.playable()[0]
	go func() {
		_, err := player.Play(b.Context(), l)
		played <- err
	}()
	<-playing
	go func() {
		o, err := p.Process(b.Context(), next)
		if err != nil {
			b.Error(err)
		}
		parked <- o
	}()
	select {
	case o := <-parked:
		b.Errorf("a later event of the key ended as %v while the earlier one was played", o)
		parked <- o
	case <-time.After(200 * time.Millisecond): // it waits
	}
	close(release)
	if err := <-played; err != nil {
		b.Fatal(err)
	}
	if o := <-parked; o != inbox.Processed {
		b.Errorf("after the release: %v", o)
	}
	b.wantLetters(0, 0)
	b.wantEffects(bad.ID, next.ID)
}

// The other way round: who plays the last letter waits for the one who parks behind it, and does not release the key.
func (b *bed[T]) playWhileParked() {
	h := &picky[T]{b, map[string]bool{}}
	p := b.processor(h.handle, inbox.Options{})
	bad, next := message(NewID(), "k", 1), message(NewID(), "k", 2)
	h.bad[bad.ID] = true
	b.want(p, bad, inbox.DeadLettered)
	clear(h.bad)
	b.judge(b.letters()[0], inbox.Retry)
	l := b.playable()[0]
	played := make(chan error, 1)
	err := b.f.Store.Tx(b.Context(), func(ctx context.Context, tx T) error {
		key, _ := inbox.KeyUID("orders", []byte("k"))
		id, _ := inbox.ParseUID(next.ID)
		waits, err := b.f.Store.ParkBehind(ctx, tx, b.consumer, &inbox.Letter{UID: id, Key: key, Waiting: true, Reason: "waiting", Message: *next})
		if err != nil || !waits {
			b.Errorf("park behind: %v, %v", waits, err)
		}
		go func() {
			_, err := p.Play(b.Context(), l)
			played <- err
		}()
		select {
		case err := <-played:
			b.Errorf("the last letter was played while another was parked behind it: %v", err)
			played <- err
		case <-time.After(200 * time.Millisecond): // it waits
		}
		return nil
	})
	if err := errors.Join(err, <-played); err != nil {
		b.Fatal(err)
	}
	b.wantLetters(0, 1)
	last := message(NewID(), "k", 3)
	b.want(p, last, inbox.Parked) // the key was not released
	for range 2 {
		if o, err := p.Play(b.Context(), b.playable()[0]); o != inbox.Processed || err != nil {
			b.Fatal(o, err)
		}
	}
	b.wantEffects(bad.ID, next.ID, last.ID)
}

// Giving up the first lets those behind it go.
func (b *bed[T]) drop() {
	p, _, ms := b.parked(inbox.Options{})
	ids := b.letters()
	b.judge(ids[0], inbox.Drop)
	b.judge(ids[2], inbox.Drop)
	for i, want := range []inbox.Outcome{inbox.Skipped, inbox.Processed, inbox.Skipped} {
		next := b.playable()
		if len(next) != 1 || next[0].ID != ids[i] {
			b.Fatalf("next is %v, want %d", next, ids[i])
		}
		if o, err := p.Play(b.Context(), next[0]); o != want || err != nil {
			b.Fatalf("letter %d: %v, %v; want %v", i, o, err, want)
		}
	}
	b.wantEffects(ms[1].ID)
	b.wantLetters(0, 0)
	b.want(p, again(ms[0]), inbox.Duplicate)
	free := message(NewID(), "k", 9)
	b.want(p, free, inbox.Processed)
}
