package checkpoint_test

import (
	"errors"
	"testing"

	"github.com/cdc-relay/cdc-relay/checkpoint"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// TestSpans: one is opened and closed by the owner of the slot alone, each once, and its ends lie where nobody has read yet.
func TestSpans(t *testing.T) {
	eachVersion(t, func(t *testing.T, b *bench) {
		s := b.store(t)
		m := b.start(t, s)
		spans := func(at *checkpoint.Mark) []checkpoint.MessageSpan {
			t.Helper()
			all, err := s.MessageSpans(ctx(t), at)
			must(t, err)
			return all
		}
		if got := spans(m); got != nil {
			t.Errorf("at first: %v", got)
		}
		if err := s.SwitchMessages(ctx(t), 1, m.Incarnation, true); !errors.Is(err, checkpoint.ErrFenced) {
			t.Errorf("by nobody's walsender: %v", err)
		}
		pid, _ := b.stream(t)
		if err := s.SwitchMessages(ctx(t), pid, "another", true); !errors.Is(err, checkpoint.ErrIncarnation) {
			t.Errorf("of another incarnation: %v", err)
		}
		before, err := s.Sample(ctx(t))
		must(t, err)
		must(t, s.SwitchMessages(ctx(t), pid, m.Incarnation, false)) // nothing to close
		must(t, s.SwitchMessages(ctx(t), pid, m.Incarnation, true))
		first := spans(m)
		must(t, s.SwitchMessages(ctx(t), pid, m.Incarnation, true)) // a second time changes nothing
		if again := spans(m); len(first) != 1 || len(again) != 1 || again[0] != first[0] || first[0].Until != 0 || first[0].Since < before.WALEnd {
			t.Fatalf("opened: %+v, then %+v", first, again)
		}
		if err := s.SwitchMessages(ctx(t), pid+1, m.Incarnation, false); !errors.Is(err, checkpoint.ErrFenced) || spans(m)[0] != first[0] {
			t.Errorf("closed by another's walsender: %v, %+v", err, spans(m))
		}
		b.pg.Exec(t, "SELECT pg_logical_emit_message(true, 'other', 'x')")
		must(t, s.SwitchMessages(ctx(t), pid, m.Incarnation, false))
		closed := spans(m)
		if len(closed) != 1 || closed[0].Since != first[0].Since || closed[0].Until <= first[0].Since || closed[0].UntilXID < before.HorizonXID {
			t.Fatalf("closed: %+v", closed)
		}
		must(t, s.SwitchMessages(ctx(t), pid, m.Incarnation, true))
		if two := spans(m); len(two) != 2 || two[0] != closed[0] || two[1].Since < closed[0].Until {
			t.Errorf("opened again: %+v", two)
		}

		// What a mark has passed, and no transaction that is open can come back to, concerns nobody.
		past := *m
		past.LSN, past.HorizonXID = closed[0].Until, closed[0].UntilXID-1
		if got := spans(&past); len(got) != 2 {
			t.Errorf("a transaction that began before the end may still commit: %+v", got)
		}
		past.HorizonXID++
		if got := spans(&past); len(got) != 1 || got[0].Until != 0 {
			t.Errorf("behind the end: %+v", got)
		}
	})
}

// TestSpansOfAnOldSchema: a binary that can read messages runs on a schema that cannot, as long as they are off.
func TestSpansOfAnOldSchema(t *testing.T) {
	t.Parallel()
	b := newBench(t, testenv.Postgres(t))
	s := b.store(t)
	m := b.start(t, s)
	b.pg.Exec(t, "DROP FUNCTION cdc_relay.message_spans_v1(text), cdc_relay.message_rights_v1()")
	if spans, err := s.MessageSpans(ctx(t), m); spans != nil || err != nil {
		t.Errorf("got %v, %v", spans, err)
	}
	if _, err := s.MessageRights(ctx(t)); !errors.Is(err, checkpoint.ErrNoSchema) {
		t.Errorf("rights: %v, want to be told to migrate", err)
	}
}
