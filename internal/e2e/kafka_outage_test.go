package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// A broker is down for minutes under load: the window fills, the rest waits in the WAL, one session lives on, memory stays
// flat while it lasts and while the backlog is worked off, and every event comes once and in order.
func TestI8_BrokerDownForMinutes(t *testing.T) {
	heavy(t)
	t.Parallel()
	s, broker := behind(t, setup(t))
	topic := s.k.Topic(t, 8)
	got := s.watch(topic)
	p := s.start()
	s.into(topic, 0, 1000, 50)
	got.holds(1000)
	broker.Cut()
	n := 1000
	for begun := time.Now(); time.Since(begun) < 3*time.Minute; <-time.After(time.Second) {
		s.intoWide(topic, n, 2000, 50, 400)
		n += 2000
		if st, err := p.status(); err != nil || st.Sessions != 1 || st.InFlight > 20_000 {
			t.Fatalf("%d sessions, %d events in flight, %v", st.Sessions, st.InFlight, err)
		}
	}
	p.flat()
	broker.Resume()
	got.holds(n)
	p.flat()
	p.drain()
	s.hasNothingParked()
	s.compare(got.end(topic), 0)
}

// A null key (a mapped column that may be null) has no order to keep and no key to park: it arrives as null, not as an empty
// key, and where it is refused it goes alone.
func TestNullKey(t *testing.T) {
	t.Parallel()
	s := onKafka(setup(t), testenv.Kafka(t))
	small := s.k.Topic(t, 3, "max.message.bytes=4000")
	s.pg.Exec(t, `CREATE TABLE own (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), kind text, entity text, key text, what text, body text)`)
	s.pg.Exec(t, `ALTER PUBLICATION cdc_relay SET TABLE own; GRANT SELECT ON own TO `+s.role)
	got := s.watch(small)
	p := s.start("CDC_RELAY_OUTBOX_0_TABLE=own", "CDC_RELAY_OUTBOX_0_TOPIC="+small,
		"CDC_RELAY_OUTBOX_0_COLUMNS=event_id=id,aggregate_type=kind,aggregate_id=entity,event_type=what,payload=body,topic=,partition_key=key,headers=,created_at=,seq=")
	s.pg.Exec(t, `INSERT INTO own (kind, what, key, body)
		SELECT 'a', 't', CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'k' END, repeat('x', CASE i WHEN 3 THEN 9000 ELSE i END) FROM generate_series(0, 29) AS i`)
	testenv.Eventually(t, patience, func() error {
		if n := len(got.all()); n < 29 {
			return fmt.Errorf("%d records, want 29", n)
		}
		return nil
	})
	nulls, empty := 0, 0
	for _, l := range got.all() {
		switch {
		case l.Key == nil:
			nulls++
		case len(l.Key) == 0:
			empty++
		}
	}
	if nulls != 9 || empty != 10 {
		t.Errorf("%d null keys and %d empty ones, want 9 and 10", nulls, empty)
	}
	p.is(func(st relay.Status) error {
		if st.DeadLetters != 1 || st.ParkedKeys != 0 {
			return errors.New("want one dead letter and no parked key")
		}
		return nil
	})
	p.drain()
}
