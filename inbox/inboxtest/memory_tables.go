package inboxtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

func (s *Store) insert(consumer string, l *inbox.Letter, queue bool) {
	kept := *l
	s.now.lastID++
	kept.ID, kept.Consumer, kept.Created = s.now.lastID, consumer, time.Now()
	if queue {
		s.now.queued[kept.ID] = true
	} else {
		kept.Key = inbox.UID{}
	}
	s.now.letters = append(s.now.letters, kept)
}

// AddLetter is that of inbox.Letters.
func (s *Store) AddLetter(_ context.Context, _ *Tx, consumer string, l *inbox.Letter, parkKey bool) error {
	if parkKey {
		s.now.parked[who{consumer, l.Key}] = true
	}
	s.insert(consumer, l, parkKey)
	return nil
}

// AnyParked is that of inbox.Letters.
func (s *Store) AnyParked(_ context.Context, _ *Tx, consumer string) (bool, error) {
	for at := range s.now.parked {
		if at.consumer == consumer {
			return true, nil
		}
	}
	return false, nil
}

// ParkedKeys is that of inbox.Letters.
func (s *Store) ParkedKeys(_ context.Context, _ *Tx, consumer string, keys []inbox.UID) ([]bool, error) {
	out := make([]bool, len(keys))
	for i, k := range keys {
		out[i] = s.now.parked[who{consumer, k}]
	}
	return out, nil
}

// ParkBehind is that of inbox.Letters.
func (s *Store) ParkBehind(_ context.Context, _ *Tx, consumer string, l *inbox.Letter) (bool, error) {
	if !s.now.parked[who{consumer, l.Key}] {
		return false, nil
	}
	s.insert(consumer, l, true)
	return true, nil
}

// find returns the index of a letter of the consumer, or -1.
func (s *Store) find(consumer string, id int64) int {
	return slices.IndexFunc(s.now.letters, func(l inbox.Letter) bool { return l.ID == id && l.Consumer == consumer })
}

// head returns the first letter of the queue that l belongs to, or its own id.
func (s *Store) head(l *inbox.Letter) int64 {
	if !s.now.queued[l.ID] {
		return l.ID
	}
	for i := range s.now.letters {
		if b := &s.now.letters[i]; b.Consumer == l.Consumer && b.Key == l.Key && s.now.queued[b.ID] {
			return b.ID
		}
	}
	return l.ID
}

// Playable is that of inbox.Letters.
func (s *Store) Playable(ctx context.Context, consumer, topic string, partitions []int32, limit int) (out []inbox.Playable, err error) {
	err = s.auto(ctx, func() error {
		for i := range s.now.letters {
			l := &s.now.letters[i]
			if l.Consumer != consumer || l.Message.Topic != topic || partitions != nil && !slices.Contains(partitions, l.Message.Partition) ||
				l.Verdict == inbox.NoVerdict && !l.Waiting || s.head(l) != l.ID || len(out) == limit {
				continue
			}
			out = append(out, inbox.Playable{ID: l.ID, Topic: topic, Partition: l.Message.Partition, Drop: l.Verdict == inbox.Drop})
		}
		return nil
	})
	return out, err
}

func gone(id int64) error { return fmt.Errorf("play dead letter %d: %w", id, inbox.ErrGone) }

// BeginPlay is that of inbox.Letters.
func (s *Store) BeginPlay(ctx context.Context, consumer string, id int64) error {
	return s.auto(ctx, func() error {
		i := s.find(consumer, id)
		if i < 0 {
			return gone(id)
		}
		l := &s.now.letters[i]
		if l.Verdict != inbox.Retry && (!l.Waiting || l.Verdict != inbox.NoVerdict) {
			return gone(id)
		}
		l.Verdict, l.Waiting, l.Error = inbox.NoVerdict, false, "it was played, and no result came back"
		l.Attempts++
		return nil
	})
}

// TakeLetter is that of inbox.Letters.
func (s *Store) TakeLetter(_ context.Context, _ *Tx, consumer string, id int64) (*inbox.Letter, error) {
	i := s.find(consumer, id)
	if i < 0 || s.head(&s.now.letters[i]) != id {
		return nil, gone(id)
	}
	l := s.now.letters[i]
	queued := s.now.queued[id]
	s.now.letters = slices.Delete(s.now.letters, i, i+1)
	delete(s.now.queued, id)
	s.now.claims[who{consumer, l.UID}] = 0
	more := slices.ContainsFunc(s.now.letters, func(b inbox.Letter) bool {
		return b.Consumer == consumer && b.Key == l.Key && s.now.queued[b.ID]
	})
	if queued && !more {
		delete(s.now.parked, who{consumer, l.Key})
	}
	return &l, s.at(AfterClaim)
}

// EndPlay is that of inbox.Letters.
func (s *Store) EndPlay(ctx context.Context, consumer string, id int64, why string, again bool) error {
	return s.auto(ctx, func() error {
		i := s.find(consumer, id)
		if i < 0 {
			return nil
		}
		l := &s.now.letters[i]
		l.Error = why
		if again {
			l.Attempts--
			l.Verdict = inbox.Retry
		} else if l.Reason == "waiting" {
			l.Reason = "handler"
		}
		return nil
	})
}

// ListLetters is that of inbox.Letters.
func (s *Store) ListLetters(ctx context.Context, consumer string, f inbox.LetterFilter, limit int) (out []inbox.Letter, err error) {
	err = s.auto(ctx, func() error {
		for _, l := range s.now.letters {
			if (consumer == "" || l.Consumer == consumer) && (f.IDs == nil || slices.Contains(f.IDs, l.ID)) && (f.Topic == "" || l.Message.Topic == f.Topic) &&
				(f.Key == nil || bytes.Equal(f.Key, l.Message.Key)) && len(out) < limit {
				out = append(out, l)
			}
		}
		return nil
	})
	return out, err
}

// Judge is that of inbox.Letters.
func (s *Store) Judge(ctx context.Context, consumer string, ids []int64, v inbox.Verdict) (n int, err error) {
	err = s.auto(ctx, func() error {
		meant := map[int64]bool{}
		for _, id := range ids {
			if i := s.find(consumer, id); i >= 0 && v == inbox.Retry {
				meant[s.head(&s.now.letters[i])] = true
			} else if i >= 0 {
				meant[id] = true
			}
		}
		for id := range meant {
			s.now.letters[s.find(consumer, id)].Verdict = v
		}
		n = len(meant)
		return nil
	})
	return n, err
}

// CountLetters is that of inbox.Letters.
func (s *Store) CountLetters(ctx context.Context, consumer string) (dead, waiting int, err error) {
	err = s.auto(ctx, func() error {
		for _, l := range s.now.letters {
			if l.Consumer != consumer {
				continue
			}
			if l.Waiting {
				waiting++
			} else {
				dead++
			}
		}
		return nil
	})
	return dead, waiting, err
}

// Open is that of inbox.Places.
func (s *Store) Open(ctx context.Context, consumer string, at inbox.Place, start int64) (st inbox.PlaceState, err error) {
	if start < 0 {
		return st, fmt.Errorf("open %s/%d: a partition starts at offset 0 or more, not at %d", at.Topic, at.Partition, start)
	}
	err = s.auto(ctx, func() error {
		key := placeOf{consumer, at}
		found := false
		if st, found = s.now.places[key]; !found {
			st = inbox.PlaceState{Place: at, Start: start, Watermark: start, Clean: true}
		}
		st.Epoch++
		kept := st
		kept.Clean = false
		s.now.places[key] = kept
		st.First = !found
		return nil
	})
	return st, err
}

// Save is that of inbox.Places.
func (s *Store) Save(ctx context.Context, consumer string, clean bool, progress ...inbox.Progress) error {
	return s.auto(ctx, func() error {
		fenced := 0
		for _, p := range progress {
			key := placeOf{consumer, p.Place}
			st, found := s.now.places[key]
			if !found || st.Epoch != p.Epoch {
				fenced++
				continue
			}
			st.Watermark, st.Clean = max(st.Watermark, p.Watermark), clean
			s.now.places[key] = st
		}
		if fenced > 0 {
			return fmt.Errorf("save watermarks of consumer %q, %d of %d partitions: %w", consumer, fenced, len(progress), inbox.ErrFenced)
		}
		return nil
	})
}

// Look is that of inbox.Places.
func (s *Store) Look(ctx context.Context, consumer, topic string) (out []inbox.PlaceState, err error) {
	err = s.auto(ctx, func() error {
		for key, st := range s.now.places {
			if key.consumer == consumer && (topic == "" || key.Topic == topic) {
				out = append(out, st)
			}
		}
		slices.SortFunc(out, func(a, b inbox.PlaceState) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
		return nil
	})
	return out, err
}

// Retention is that of inbox.Places: the default of the stores in Postgres.
func (s *Store) Retention(context.Context) (int, error) { return 8, nil }

// LockMark is that of inbox.Marks.
func (s *Store) LockMark(_ context.Context, _ *Tx, consumer string, at inbox.MarkPlace) (inbox.Mark, bool, error) {
	m, found := s.now.marks[markOf{consumer, at}]
	return m, found, s.at(AfterClaim)
}

// SetMark is that of inbox.Marks.
func (s *Store) SetMark(_ context.Context, _ *Tx, consumer string, at inbox.MarkPlace, m inbox.Mark) error {
	s.now.marks[markOf{consumer, at}] = m
	return nil
}

// Sources is that of inbox.Marks.
func (s *Store) Sources(_ context.Context, _ *Tx, consumer, topic string) ([]string, error) {
	return slices.Clone(s.now.sources[topicOf{consumer, topic}]), nil
}

// AddSource is that of inbox.Marks.
func (s *Store) AddSource(_ context.Context, _ *Tx, consumer, topic, source string) error {
	s.addSource(topicOf{consumer, topic}, source)
	return nil
}

func (s *Store) addSource(at topicOf, source string) {
	if known := s.now.sources[at]; !slices.Contains(known, source) {
		s.now.sources[at] = append(slices.Clone(known), source)
	}
}

// Announce is that of inbox.Marks.
func (s *Store) Announce(ctx context.Context, consumer, topic string, sources ...string) error {
	return s.auto(ctx, func() error {
		for _, source := range sources {
			s.addSource(topicOf{consumer, topic}, source)
		}
		return nil
	})
}

// Partitions is that of inbox.Marks.
func (s *Store) Partitions(ctx context.Context, consumer, topic string, n int, accept bool) (stored int, err error) {
	err = s.auto(ctx, func() error {
		at := topicOf{consumer, topic}
		if s.now.counts[at] == 0 || accept {
			s.now.counts[at] = n
		}
		stored = s.now.counts[at]
		return nil
	})
	return stored, err
}
