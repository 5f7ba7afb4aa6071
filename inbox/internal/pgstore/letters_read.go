package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// letterColumns are what scanLetter reads.
const letterColumns = `id, uid::text, queue::text, waiting, verdict, topic, partition::bigint, record_offset, key, value, headers, record_time, reason, error, attempts::bigint, created_at`

func scanLetter(scan func(...any) error) (*inbox.Letter, error) {
	var l inbox.Letter
	var uid string
	var queue, verdict *string
	var partition, attempts int64
	var headers []byte
	var when *time.Time
	m := &l.Message
	err := scan(&l.ID, &uid, &queue, &l.Waiting, &verdict, &m.Topic, &partition, &m.Offset, &m.Key, &m.Value, &headers, &when, &l.Reason, &l.Error, &attempts, &l.Created)
	if err != nil {
		return nil, err
	}
	l.UID, _ = inbox.ParseUID(uid)
	if queue != nil {
		l.Key, _ = inbox.ParseUID(*queue)
	}
	if verdict != nil {
		l.Verdict = inbox.Verdict(*verdict)
	}
	if when != nil {
		m.Time = *when
	}
	m.Partition, l.Attempts = int32(partition), int(attempts)
	m.Headers, err = unpackHeaders(headers)
	return &l, err
}

// CountLetters is that of inbox.Letters.
func (s *Store[T]) CountLetters(ctx context.Context, consumer string) (dead, waiting int, err error) {
	var d, w int64
	err = s.d.Auto().Query(ctx, `SELECT count(*) FILTER (WHERE NOT waiting), count(*) FILTER (WHERE waiting) FROM cdc_inbox.dead_letter
		WHERE consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1)`, []any{consumer}, func(scan func(...any) error) error { return scan(&d, &w) })
	return int(d), int(w), Fail("count dead letters", err)
}

// ListLetters is that of inbox.Letters.
func (s *Store[T]) ListLetters(ctx context.Context, consumer string, f inbox.LetterFilter, limit int) ([]inbox.Letter, error) {
	return ListLetters(ctx, s.d.Auto(), consumer, f, limit)
}

// ListLetters lists letters on a connection.
func ListLetters(ctx context.Context, q Querier, consumer string, f inbox.LetterFilter, limit int) ([]inbox.Letter, error) {
	var out []inbox.Letter
	err := q.Query(ctx, `SELECT `+letterColumns+`, (SELECT name FROM cdc_inbox.consumer c WHERE c.id = d.consumer) FROM cdc_inbox.dead_letter d
		WHERE ($1 = '' OR d.consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1)) AND ($2 = '' OR d.topic = $2)
		AND ($3::bytea IS NULL OR d.key = $3) AND ($4::text IS NULL OR d.id = ANY ($4::text::bigint[])) ORDER BY d.id LIMIT $5`,
		[]any{consumer, f.Topic, orNull(f.Key), idsOrNull(f.IDs), int64(limit)}, func(scan func(...any) error) error {
			var name string
			l, err := scanLetter(func(into ...any) error { return scan(append(into, &name)...) })
			if err != nil {
				return err
			}
			l.Consumer = name
			out = append(out, *l)
			return nil
		})
	return out, Fail("list dead letters", err)
}

func idsOrNull(ids []int64) any {
	if ids == nil {
		return nil
	}
	return texts(ids, func(id int64) (string, bool) { return fmt.Sprint(id), true })
}

// Judge is that of inbox.Letters.
func (s *Store[T]) Judge(ctx context.Context, consumer string, ids []int64, v inbox.Verdict) (int, error) {
	return Judge(ctx, s.d.Auto(), consumer, ids, v)
}

// Judge gives verdicts on a connection.
func Judge(ctx context.Context, q Querier, consumer string, ids []int64, v inbox.Verdict) (int, error) {
	var n int64
	err := q.Query(ctx, `WITH c AS (SELECT id FROM cdc_inbox.consumer WHERE name = $1),
		named AS (SELECT l.id, l.queue, l.consumer FROM cdc_inbox.dead_letter l, c WHERE l.consumer = c.id AND l.id = ANY ($2::text::bigint[])),
		meant AS (SELECT DISTINCT CASE WHEN $3 = 'retry' AND n.queue IS NOT NULL
			THEN (SELECT min(b.id) FROM cdc_inbox.dead_letter b WHERE b.consumer = n.consumer AND b.queue = n.queue) ELSE n.id END AS id FROM named n),
		judged AS (UPDATE cdc_inbox.dead_letter l SET verdict = nullif($3::text, ''), changed_at = now() FROM meant WHERE l.id = meant.id RETURNING l.id)
		SELECT count(*), (SELECT pg_notify('cdc_inbox', $1))::text FROM judged`,
		[]any{consumer, texts(ids, func(id int64) (string, bool) { return fmt.Sprint(id), true }), string(v)},
		func(scan func(...any) error) error { var nothing *string; return scan(&n, &nothing) })
	return int(n), Fail("judge dead letters", err)
}
