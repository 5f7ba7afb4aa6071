package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// header is how a letter keeps one header: base64 in JSON, because names and values are bytes.
type header struct {
	K []byte `json:"k"`
	V []byte `json:"v"`
}

func packHeaders(all []inbox.Header) ([]byte, error) {
	out := make([]header, len(all))
	for i, h := range all {
		out[i] = header{[]byte(h.Key), h.Value}
	}
	return json.Marshal(out)
}

func unpackHeaders(text []byte) ([]inbox.Header, error) {
	var all []header
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read a dead letter's headers: %w", err)
	}
	out := make([]inbox.Header, len(all))
	for i, h := range all {
		out[i] = inbox.Header{Key: string(h.K), Value: h.V}
	}
	return out, nil
}

// plain makes text fit for a column.
func plain(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}

func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// Channel is where verdicts are announced; the payload is the consumer's name.
const Channel = "cdc_inbox"

// AddLetter is that of inbox.Letters.
func (s *Store[T]) AddLetter(ctx context.Context, tx T, consumer string, l *inbox.Letter, parkKey bool) error {
	q := s.d.In(tx)
	queue := ""
	if parkKey {
		// Made or found, the key's row is locked: nobody parks, plays or releases meanwhile.
		_, err := q.Exec(ctx, `INSERT INTO cdc_inbox.parked_key AS p (consumer, key_id, topic, key) VALUES (cdc_inbox.consumer_v1($1), $2::text::uuid, $3, $4)
			ON CONFLICT (consumer, key_id) DO UPDATE SET topic = p.topic`, consumer, l.Key.String(), plain(l.Message.Topic), l.Message.Key)
		if err != nil {
			return Fail("park a key", err)
		}
		queue = l.Key.String()
	}
	return s.insertLetter(ctx, q, consumer, l, queue)
}

func (s *Store[T]) insertLetter(ctx context.Context, q Querier, consumer string, l *inbox.Letter, queue string) error {
	headers, err := packHeaders(l.Message.Headers)
	if err != nil {
		return Fail("write a dead letter", err)
	}
	var when any
	if !l.Message.Time.IsZero() {
		when = l.Message.Time
	}
	_, err = q.Exec(ctx, `INSERT INTO cdc_inbox.dead_letter (consumer, uid, queue, waiting, topic, partition, record_offset, key, value, headers, record_time, event_id, event_type, reason, error, attempts)
		VALUES (cdc_inbox.consumer_v1($1), $2::text::uuid, nullif($3::text, '')::uuid, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		consumer, l.UID.String(), queue, l.Waiting, plain(l.Message.Topic), int64(l.Message.Partition), l.Message.Offset, orNull(l.Message.Key), orNull(l.Message.Value),
		headers, when, plain(l.Message.ID), plain(l.Message.Type), plain(l.Reason), plain(l.Error), int64(l.Attempts))
	return Fail("write a dead letter", err)
}

// AnyParked is that of inbox.Letters.
func (s *Store[T]) AnyParked(ctx context.Context, tx T, consumer string) (bool, error) {
	found := false
	err := s.d.In(tx).Query(ctx, `SELECT EXISTS (SELECT FROM cdc_inbox.parked_key WHERE consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1))`,
		[]any{consumer}, func(scan func(...any) error) error { return scan(&found) })
	return found, Fail("look for parked keys", err)
}

// ParkedKeys is that of inbox.Letters.
func (s *Store[T]) ParkedKeys(ctx context.Context, tx T, consumer string, keys []inbox.UID) ([]bool, error) {
	return parkedKeys(ctx, s.d.In(tx), consumer, keys)
}

func parkedKeys(ctx context.Context, q Querier, consumer string, keys []inbox.UID) ([]bool, error) {
	found := map[string]bool{}
	err := q.Query(ctx, `SELECT key_id::text FROM cdc_inbox.parked_key WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND key_id = ANY ($2::text::uuid[])`,
		[]any{consumer, uuids(keys)}, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			found[id] = true
			return err
		})
	if err != nil {
		return nil, Fail("look for parked keys", err)
	}
	out := make([]bool, len(keys))
	for i, k := range keys {
		out[i] = found[k.String()]
	}
	return out, nil
}

// lockKey locks a parked key's row; false when there is none.
func lockKey(ctx context.Context, q Querier, consumer, key string) (bool, error) {
	found := false
	err := q.Query(ctx, `SELECT true FROM cdc_inbox.parked_key WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND key_id = $2::text::uuid FOR UPDATE`,
		[]any{consumer, key}, func(scan func(...any) error) error { return scan(&found) })
	return found, Fail("lock a parked key", err)
}

// ParkBehind is that of inbox.Letters.
func (s *Store[T]) ParkBehind(ctx context.Context, tx T, consumer string, l *inbox.Letter) (bool, error) {
	q := s.d.In(tx)
	parked, err := lockKey(ctx, q, consumer, l.Key.String())
	if err != nil || !parked {
		return false, err
	}
	return true, s.insertLetter(ctx, q, consumer, l, l.Key.String())
}

// Playable is that of inbox.Letters.
func (s *Store[T]) Playable(ctx context.Context, consumer, topic string, partitions []int32, limit int) ([]inbox.Playable, error) {
	var some any
	if partitions != nil {
		some = texts(partitions, func(p int32) (string, bool) { return fmt.Sprint(p), true })
	}
	var out []inbox.Playable
	// The first letter of a queue is ready when it has a verdict, or only waited for one that is gone.
	err := s.d.Auto().Query(ctx, `SELECT l.id, l.topic, l.partition::bigint, l.verdict IS NOT DISTINCT FROM 'drop' FROM cdc_inbox.dead_letter l
		WHERE l.consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1) AND l.topic = $2 AND ($3::text IS NULL OR l.partition = ANY ($3::text::int[]))
		AND (l.verdict IS NOT NULL OR l.waiting)
		AND (l.queue IS NULL OR NOT EXISTS (SELECT FROM cdc_inbox.dead_letter b WHERE b.consumer = l.consumer AND b.queue = l.queue AND b.id < l.id))
		ORDER BY l.id LIMIT $4`, []any{consumer, topic, some, int64(limit)}, func(scan func(...any) error) error {
		var p inbox.Playable
		var partition int64
		err := scan(&p.ID, &p.Topic, &partition, &p.Drop)
		p.Partition = int32(partition)
		out = append(out, p)
		return err
	})
	return out, Fail("look for verdicts on dead letters", err)
}

// whilePlayed stands in the letter while it is played. When it stays, the process did not come back.
const whilePlayed = "it was played, and no result came back: the process ended, or was cut off, in the handler"

// BeginPlay is that of inbox.Letters.
func (s *Store[T]) BeginPlay(ctx context.Context, consumer string, id int64) error {
	n, err := s.d.Auto().Exec(ctx, `UPDATE cdc_inbox.dead_letter SET verdict = NULL, waiting = false, attempts = attempts + 1, error = $3, changed_at = now()
		WHERE id = $2 AND consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1) AND (verdict = 'retry' OR waiting AND verdict IS NULL)`, consumer, id, whilePlayed)
	return played(id, n, err)
}

// EndPlay is that of inbox.Letters.
func (s *Store[T]) EndPlay(ctx context.Context, consumer string, id int64, why string, again bool) error {
	_, err := s.d.Auto().Exec(ctx, `UPDATE cdc_inbox.dead_letter SET error = $3, changed_at = now(),
		verdict = CASE WHEN $4 THEN coalesce(verdict, 'retry') ELSE verdict END, attempts = attempts - CASE WHEN $4 THEN 1 ELSE 0 END,
		reason = CASE WHEN reason = 'waiting' AND NOT $4 THEN 'handler' ELSE reason END
		WHERE id = $2 AND consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1)`, consumer, id, plain(why), again)
	return Fail(fmt.Sprintf("file the play of dead letter %d", id), err)
}

func played(id, n int64, err error) error {
	if err == nil && n == 0 {
		return fmt.Errorf("play dead letter %d: %w", id, inbox.ErrGone)
	}
	return Fail(fmt.Sprintf("play dead letter %d", id), err)
}

// TakeLetter is that of inbox.Letters.
func (s *Store[T]) TakeLetter(ctx context.Context, tx T, consumer string, id int64) (*inbox.Letter, error) {
	q := s.d.In(tx)
	var queue *string
	found := false
	err := q.Query(ctx, `SELECT queue::text FROM cdc_inbox.dead_letter WHERE id = $2 AND consumer = (SELECT cdc_inbox.consumer_v1($1))`, []any{consumer, id},
		func(scan func(...any) error) error { found = true; return scan(&queue) })
	if err != nil || !found {
		return nil, played(id, 0, err)
	}
	if queue != nil {
		if _, err := lockKey(ctx, q, consumer, *queue); err != nil {
			return nil, err
		}
	}
	var l *inbox.Letter
	err = q.Query(ctx, `DELETE FROM cdc_inbox.dead_letter d WHERE d.id = $2 AND d.consumer = (SELECT cdc_inbox.consumer_v1($1))
		AND (d.queue IS NULL OR NOT EXISTS (SELECT FROM cdc_inbox.dead_letter b WHERE b.consumer = d.consumer AND b.queue = d.queue AND b.id < d.id))
		RETURNING `+letterColumns, []any{consumer, id}, func(scan func(...any) error) error {
		l, err = scanLetter(scan)
		return err
	})
	if err != nil || l == nil {
		return nil, played(id, 0, err)
	}
	if queue != nil {
		_, err = q.Exec(ctx, `DELETE FROM cdc_inbox.parked_key WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND key_id = $2::text::uuid
			AND NOT EXISTS (SELECT FROM cdc_inbox.dead_letter WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND queue = $2::text::uuid)`, consumer, *queue)
		if err != nil {
			return nil, Fail("release a key", err)
		}
	}
	// The claim of before may have gone with its day; a copy of the event must not be fresh for it.
	_, err = Claim(ctx, q, consumer, []inbox.Ask{{ID: l.UID}})
	return l, err
}
