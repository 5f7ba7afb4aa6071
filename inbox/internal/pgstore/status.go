package pgstore

import (
	"context"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Status is what stands in the schema.
type Status struct {
	Version     int
	KeepDays    int
	PremakeDays int // wished
	DaysAhead   int // made
	StrayClaims int64
	Days        []Day
	Consumers   []Consumer
}

// Day is a partition of the claims.
type Day struct {
	Day   string
	Bytes int64
}

// Consumer is one consumer's state.
type Consumer struct {
	Name    string
	Dead    int64
	Waiting int64
	Parked  int64 // keys
	Places  []Place
	Sources []string // "topic source" of the high-water mark
}

// Place is where a consumer stands.
type Place struct {
	inbox.PlaceState
	At time.Time
}

// Status reads it.
func (s *Store[T]) Status(ctx context.Context) (Status, error) {
	var st Status
	q := s.d.Auto()
	var version, keep, premake, ahead int64
	err := q.Query(ctx, `SELECT version::bigint, keep_days::bigint, premake_days::bigint, (SELECT count(*) FROM cdc_inbox.claimed_default),
		(SELECT count(*) FROM generate_series(1, premake_days) n WHERE to_regclass('cdc_inbox.claimed_' || to_char((now() AT TIME ZONE 'UTC')::date + n::int, 'YYYYMMDD')) IS NOT NULL)
		FROM cdc_inbox.setting`, nil, func(scan func(...any) error) error {
		return scan(&version, &keep, &premake, &st.StrayClaims, &ahead)
	})
	if err != nil {
		return st, Fail("read the inbox's state", err)
	}
	st.Version, st.KeepDays, st.PremakeDays, st.DaysAhead = int(version), int(keep), int(premake), int(ahead)
	err = q.Query(ctx, `SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::text, pg_total_relation_size(c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'cdc_inbox.claimed'::regclass AND c.relname ~ '^claimed_\d{8}$' ORDER BY 1`, nil, func(scan func(...any) error) error {
		var d Day
		err := scan(&d.Day, &d.Bytes)
		st.Days = append(st.Days, d)
		return err
	})
	if err != nil {
		return st, Fail("read the inbox's days", err)
	}
	err = q.Query(ctx, `SELECT c.name, count(l.id) FILTER (WHERE NOT l.waiting), count(l.id) FILTER (WHERE l.waiting), (SELECT count(*) FROM cdc_inbox.parked_key p WHERE p.consumer = c.id),
		(SELECT coalesce(string_agg(topic || ' ' || source, E'\n' ORDER BY topic, source), '') FROM cdc_inbox.source s WHERE s.consumer = c.id)
		FROM cdc_inbox.consumer c LEFT JOIN cdc_inbox.dead_letter l ON l.consumer = c.id GROUP BY c.id, c.name ORDER BY c.name`, nil, func(scan func(...any) error) error {
		var c Consumer
		var sources string
		err := scan(&c.Name, &c.Dead, &c.Waiting, &c.Parked, &sources)
		c.Sources = lines(sources)
		st.Consumers = append(st.Consumers, c)
		return err
	})
	if err != nil {
		return st, Fail("read the inbox's consumers", err)
	}
	for i := range st.Consumers {
		c := &st.Consumers[i]
		err = q.Query(ctx, `SELECT topic, partition::bigint, start_offset, watermark, clean, epoch, at FROM cdc_inbox.place
			WHERE consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1) ORDER BY topic, partition`, []any{c.Name}, func(scan func(...any) error) error {
			var p Place
			var partition int64
			err := scan(&p.Topic, &partition, &p.Start, &p.Watermark, &p.Clean, &p.Epoch, &p.At)
			p.Partition = int32(partition)
			c.Places = append(c.Places, p)
			return err
		})
		if err != nil {
			return st, Fail("read the inbox's positions", err)
		}
	}
	return st, nil
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
