package pgstore

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Open is that of inbox.Places.
func (s *Store[T]) Open(ctx context.Context, consumer string, at inbox.Place, start int64) (inbox.PlaceState, error) {
	st := inbox.PlaceState{Place: at}
	if start < 0 {
		return st, fmt.Errorf("open %s/%d: a partition starts at offset 0 or more, not at %d", at.Topic, at.Partition, start)
	}
	// Two owners at once take turns at the row; the later one has the higher epoch. The old row is read under the lock that the
	// update takes: xmax tells an update from an insert.
	err := s.d.Auto().Query(ctx, `WITH old AS MATERIALIZED (
			SELECT clean FROM cdc_inbox.place WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND topic = $2 AND partition = $3 FOR UPDATE)
		INSERT INTO cdc_inbox.place AS p (consumer, topic, partition, start_offset, watermark, clean, epoch)
		SELECT cdc_inbox.consumer_v1($1), $2::text, $3::int, $4::bigint, $4::bigint, false, 1 FROM (SELECT count(*) FROM old) once
		ON CONFLICT (consumer, topic, partition) DO UPDATE SET clean = false, epoch = p.epoch + 1, at = now()
		RETURNING start_offset, watermark, epoch, coalesce((SELECT clean FROM old), p.epoch = 1)`,
		[]any{consumer, at.Topic, int64(at.Partition), start}, func(scan func(...any) error) error {
			return scan(&st.Start, &st.Watermark, &st.Epoch, &st.Clean)
		})
	st.First = st.Epoch == 1
	return st, Fail(fmt.Sprintf("open %s/%d for consumer %q", at.Topic, at.Partition, consumer), err)
}

// Save is that of inbox.Places.
func (s *Store[T]) Save(ctx context.Context, consumer string, clean bool, progress ...inbox.Progress) error {
	if len(progress) == 0 {
		return nil
	}
	n, err := s.d.Auto().Exec(ctx, `UPDATE cdc_inbox.place p SET watermark = greatest(p.watermark, g.watermark), clean = $6, at = now()
		FROM (SELECT * FROM unnest($2::text::text[], $3::text::int[], $4::text::bigint[], $5::text::bigint[]) AS u(topic, partition, epoch, watermark) ORDER BY 1, 2) g
		WHERE p.consumer = (SELECT cdc_inbox.consumer_v1($1)) AND p.topic = g.topic AND p.partition = g.partition AND p.epoch = g.epoch`,
		consumer,
		texts(progress, func(p inbox.Progress) (string, bool) { return p.Topic, true }),
		texts(progress, func(p inbox.Progress) (string, bool) { return fmt.Sprint(p.Partition), true }),
		texts(progress, func(p inbox.Progress) (string, bool) { return fmt.Sprint(p.Epoch), true }),
		texts(progress, func(p inbox.Progress) (string, bool) { return fmt.Sprint(p.Watermark), true }), clean)
	if err != nil {
		return Fail("save watermarks", err)
	}
	if int(n) < len(progress) {
		return fmt.Errorf("save watermarks of consumer %q, %d of %d partitions: %w", consumer, len(progress)-int(n), len(progress), inbox.ErrFenced)
	}
	return nil
}

// Look is that of inbox.Places.
func (s *Store[T]) Look(ctx context.Context, consumer, topic string) ([]inbox.PlaceState, error) {
	var out []inbox.PlaceState
	err := s.d.Auto().Query(ctx, `SELECT topic, partition::bigint, start_offset, watermark, clean, epoch FROM cdc_inbox.place
		WHERE consumer = (SELECT id FROM cdc_inbox.consumer WHERE name = $1) AND ($2 = '' OR topic = $2) ORDER BY topic, partition`,
		[]any{consumer, topic}, func(scan func(...any) error) error {
			var st inbox.PlaceState
			var partition int64
			err := scan(&st.Topic, &partition, &st.Start, &st.Watermark, &st.Clean, &st.Epoch)
			st.Partition = int32(partition)
			out = append(out, st)
			return err
		})
	return out, Fail("look for positions", err)
}

// Retention is that of inbox.Places.
func (s *Store[T]) Retention(ctx context.Context) (int, error) {
	var days int64
	err := s.d.Auto().Query(ctx, `SELECT keep_days::bigint FROM cdc_inbox.setting`, nil, func(scan func(...any) error) error { return scan(&days) })
	return int(days), Fail("read the retention", err)
}
