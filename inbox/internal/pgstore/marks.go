package pgstore

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// LockMark is that of inbox.Marks.
func (s *Store[T]) LockMark(ctx context.Context, tx T, consumer string, at inbox.MarkPlace) (inbox.Mark, bool, error) {
	var m inbox.Mark
	var lsn int64
	found := false
	err := s.d.In(tx).Query(ctx, `SELECT lsn, index, last FROM cdc_inbox.mark WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND topic = $2 AND partition = $3 AND source = $4 FOR UPDATE`,
		[]any{consumer, at.Topic, int64(at.Partition), at.Source}, func(scan func(...any) error) error {
			found = true
			return scan(&lsn, &m.Index, &m.Last)
		})
	m.LSN = uint64(lsn)
	return m, found, Fail("lock the high-water mark", err)
}

// SetMark is that of inbox.Marks.
func (s *Store[T]) SetMark(ctx context.Context, tx T, consumer string, at inbox.MarkPlace, m inbox.Mark) error {
	_, err := s.d.In(tx).Exec(ctx, `INSERT INTO cdc_inbox.mark (consumer, topic, partition, source, lsn, index, last)
		VALUES (cdc_inbox.consumer_v1($1), $2, $3, $4, $5, $6, $7)
		ON CONFLICT (consumer, topic, partition, source) DO UPDATE SET lsn = excluded.lsn, index = excluded.index, last = excluded.last, at = now()`,
		consumer, at.Topic, int64(at.Partition), at.Source, int64(m.LSN), m.Index, m.Last)
	return Fail("move the high-water mark", err)
}

// Sources is that of inbox.Marks.
func (s *Store[T]) Sources(ctx context.Context, tx T, consumer, topic string) ([]string, error) {
	q := s.d.In(tx)
	if err := lockTopic(ctx, q, consumer, topic); err != nil {
		return nil, err
	}
	var out []string
	err := q.Query(ctx, `SELECT source FROM cdc_inbox.source WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND topic = $2 ORDER BY at, source`,
		[]any{consumer, topic}, func(scan func(...any) error) error {
			var source string
			err := scan(&source)
			out = append(out, source)
			return err
		})
	return out, Fail("look for the sources of a topic", err)
}

// lockTopic makes the topic's row where it is missing, and locks it.
func lockTopic(ctx context.Context, q Querier, consumer, topic string) error {
	_, err := q.Exec(ctx, `INSERT INTO cdc_inbox.topic AS t (consumer, topic) VALUES (cdc_inbox.consumer_v1($1), $2)
		ON CONFLICT (consumer, topic) DO UPDATE SET topic = t.topic`, consumer, topic)
	return Fail("lock a topic's sources", err)
}

// AddSource is that of inbox.Marks.
func (s *Store[T]) AddSource(ctx context.Context, tx T, consumer, topic, source string) error {
	return addSources(ctx, s.d.In(tx), consumer, topic, source)
}

func addSources(ctx context.Context, q Querier, consumer, topic string, sources ...string) error {
	_, err := q.Exec(ctx, `INSERT INTO cdc_inbox.source (consumer, topic, source) SELECT cdc_inbox.consumer_v1($1), $2::text, u FROM unnest($3::text::text[]) u
		ON CONFLICT DO NOTHING`, consumer, topic, texts(sources, func(s string) (string, bool) { return s, true }))
	return Fail(fmt.Sprintf("register sources of topic %q", topic), err)
}

// Announce is that of inbox.Marks.
func (s *Store[T]) Announce(ctx context.Context, consumer, topic string, sources ...string) error {
	return addSources(ctx, s.d.Auto(), consumer, topic, sources...)
}

// Partitions is that of inbox.Marks.
func (s *Store[T]) Partitions(ctx context.Context, consumer, topic string, n int, accept bool) (int, error) {
	var stored int64
	err := s.d.Auto().Query(ctx, `INSERT INTO cdc_inbox.topic AS t (consumer, topic, partitions) VALUES (cdc_inbox.consumer_v1($1), $2, $3)
		ON CONFLICT (consumer, topic) DO UPDATE SET partitions = CASE WHEN $4 OR t.partitions IS NULL THEN excluded.partitions ELSE t.partitions END
		RETURNING partitions::bigint`, []any{consumer, topic, int64(n), accept}, func(scan func(...any) error) error { return scan(&stored) })
	return int(stored), Fail("check the number of partitions", err)
}
