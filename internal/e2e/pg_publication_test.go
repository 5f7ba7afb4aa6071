package e2e_test

import (
	"fmt"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

func TestPublication_MissingAtTheFirstStart(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"15", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			s.pg.Exec(t, "DROP PUBLICATION cdc_relay")
			s.run().exits(4, "publication", "cdc_relay", "does not exist", "`cdc-relay migrate up`")
			s.verb(0, []string{"made publication"}, "publication", "create")
			p := s.start()
			s.insert(0, 3, 1)
			s.holds(3)
			p.drain()
		})
	}
}

// What is wrong with a publication is found before a slot is made for it.
func TestPublication_UnfitAtTheFirstStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make string
		want []string
	}{
		"other table": {
			"CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION cdc_relay FOR TABLE other WITH (publish = 'insert', publish_via_partition_root = true)",
			[]string{"does not contain public.outbox", "ADD TABLE"},
		},
		"updates":    {"CREATE PUBLICATION cdc_relay FOR TABLE outbox WITH (publish = 'insert, update', publish_via_partition_root = true)", []string{"inserts and nothing else", "SET (publish = 'insert')"}},
		"leaves":     {"CREATE PUBLICATION cdc_relay FOR TABLE outbox WITH (publish = 'insert')", []string{"under the names of its partitions", "publish_via_partition_root"}},
		"all tables": {"CREATE PUBLICATION cdc_relay FOR ALL TABLES WITH (publish = 'insert')", []string{"FOR ALL TABLES", "FOR TABLE"}},
		"in schema":  {"CREATE PUBLICATION cdc_relay FOR TABLES IN SCHEMA public WITH (publish = 'insert')", []string{"IN SCHEMA", "FOR TABLE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.pg.Exec(t, "DROP PUBLICATION cdc_relay; "+c.make)
			s.run().exits(4, append(c.want, "publication", "cdc_relay")...)
			if n := query[int](s, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", s.slot); n != 0 {
				t.Error("a slot was made for a publication that does not fit")
			}
		})
	}
}

// A row filter may be meant (shards): the relay starts, and says so.
func TestPublication_WithARowFilter(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.pg.Exec(t, `DROP PUBLICATION cdc_relay; CREATE PUBLICATION cdc_relay FOR TABLE outbox WHERE (aggregate_id <> 'k0') WITH (publish = 'insert', publish_via_partition_root = true)`)
	p := s.start()
	p.says("sends only the rows of public.outbox WHERE")
	s.insert(0, 10, 2)
	got := s.holds(5)
	p.drain()
	for _, l := range got {
		if string(l.Key) == "k0" {
			t.Errorf("event %s passed the filter", l.Value)
		}
	}
}

// DROP PUBLICATION under a running relay. 14 to 17 fail in decoding; 18 would skip the rows in silence: the mark's fingerprint
// finds it, and nothing from after the drop is ever confirmed.
func TestPublication_DroppedWhileRunning(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"14", "15", "16", "17", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			p := s.start()
			s.insert(0, 10, 3)
			s.holds(10)
			s.quiet()
			s.pg.Exec(t, "DROP PUBLICATION cdc_relay")
			s.insert(10, 10, 3)
			// what the skipped rows look like to an idle relay: nothing, until a row arrives or the position moves far
			s.pg.Exec(t, "CREATE PUBLICATION cdc_relay FOR TABLE outbox WITH (publish = 'insert', publish_via_partition_root = true)")
			s.insert(20, 10, 3)
			p.exits(6, "publication", "cdc_relay")
			s.marksNothingAfter(10)
			s.run().exits(6, "publication", "cdc_relay", s.slot, "`cdc-relay publication accept`") // it is still so
			s.verb(0, []string{"AFTER"}, "publication", "accept")
			s.verb(0, []string{"moved slot"}, "slot", "advance", "--to", "now", "--yes", s.slot)
			p = s.start()
			s.insert(30, 10, 3)
			s.holds(20)
			p.drain()
		})
	}
}

// Dropped and never made again, with no row after it: 18 says nothing, but the relay finds it within seconds.
func TestPublication_DroppedWhileIdle(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"15", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := setup(t, version)
			p := s.start()
			s.insert(0, 10, 3)
			s.holds(10)
			s.quiet()
			s.pg.Exec(t, "DROP PUBLICATION cdc_relay")
			s.insert(10, 5, 3)
			p.exits(6, "publication", "cdc_relay")
			s.marksNothingAfter(10)
		})
	}
}

// marksNothingAfter holds that the mark lies before the row with this number.
func (s *stand) marksNothingAfter(n int) {
	s.t.Helper()
	if query[bool](s, `SELECT horizon_xid > (SELECT xmin::text::xid8 FROM outbox WHERE payload ->> 'n' = $1) FROM cdc_relay.checkpoint WHERE slot = $2`,
		fmt.Sprint(n), s.slot) {
		s.t.Errorf("the mark has passed row %d, which was not published", n)
	}
}

// ALTER PUBLICATION and back: rows in between were skipped. `publication accept` is the operator's word that he knows.
func TestPublication_AlteredAndAccepted(t *testing.T) {
	t.Parallel()
	s := setup(t)
	p := s.start()
	s.insert(0, 10, 3)
	s.holds(10)
	s.quiet()
	s.pg.Exec(t, "ALTER PUBLICATION cdc_relay SET (publish = 'insert, update')")
	s.insert(10, 10, 3)
	p.exits(6, "publication", "insert, update", "`cdc-relay publication accept`")
	s.pg.Exec(t, "ALTER PUBLICATION cdc_relay SET (publish = 'insert')")
	s.run().exits(6, "altered and altered back", "`cdc-relay publication accept`")
	s.verb(4, []string{"publication accept"}, "publication", "show")
	s.verb(0, []string{"BEFORE", "AFTER"}, "publication", "accept")
	p = s.start()
	s.insert(20, 10, 3)
	s.holds(30)
	p.drain()
	s.compare(s.lines(""), 10) // the ten that were sent while nothing could be marked
}

func TestPublication_MissingAtALaterStart(t *testing.T) {
	t.Parallel()
	s := setupIn(t, testenv.Postgres(t, "18"))
	s.start().drain()
	s.pg.Exec(t, "DROP PUBLICATION cdc_relay")
	s.run().exits(6, "publication", "cdc_relay", "rows may have been skipped", "`cdc-relay publication create`")
	s.verb(0, []string{"slot advance --to now"}, "publication", "create", "--yes", s.slot)
	s.verb(0, nil, "slot", "advance", "--to", "now", "--yes", s.slot)
	p := s.start()
	s.insert(0, 3, 1)
	s.holds(3)
	p.drain()
}
