package inboxtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/inbox"
)

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
