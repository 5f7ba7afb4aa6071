package pgstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Claim is that of inbox.Claims.
func (s *Store[T]) Claim(ctx context.Context, tx T, consumer string, asks []inbox.Ask) ([]inbox.Answer, error) {
	if len(asks) == 0 {
		return nil, nil
	}
	return Claim(ctx, s.d.In(tx), consumer, asks)
}

// Claim asks for ids on a connection.
func Claim(ctx context.Context, q Querier, consumer string, asks []inbox.Ask) ([]inbox.Answer, error) {
	ids, days, ages, keys := arrays(asks)
	var letters *string
	err := q.Query(ctx, "SELECT cdc_inbox.claim_v1($1, $2::text::uuid[], $3::text::date[], $4::text::date[], $5::text::uuid[])",
		[]any{consumer, ids, days, ages, keys}, func(scan func(...any) error) error { return scan(&letters) })
	if err == nil && (letters == nil || len(*letters) != len(asks)) {
		err = fmt.Errorf("cdc_inbox.claim_v1 answered for another number of ids than %d", len(asks))
	}
	if err != nil {
		return nil, Fail(fmt.Sprintf("claim %d ids for consumer %q", len(asks), consumer), err)
	}
	answers := make([]inbox.Answer, len(asks))
	for i := range answers {
		switch (*letters)[i] {
		case 'f':
			answers[i].State = inbox.Fresh
		case 'p':
			answers[i] = inbox.Answer{State: inbox.Fresh, Parked: true}
		case 'x':
			answers[i].State = inbox.TooOld
		}
	}
	return answers, nil
}

// arrays are the arguments of claim_v1; ages and keys are null when nothing is in them.
func arrays(asks []inbox.Ask) (ids, days string, ages, keys any) {
	var i, d, a, k strings.Builder
	hasAge, hasKey := false, false
	for n := range asks {
		sep := byte(',')
		if n == 0 {
			sep = '{'
		}
		for _, b := range []*strings.Builder{&i, &d, &a, &k} {
			b.WriteByte(sep)
		}
		ask := &asks[n]
		i.WriteString(ask.ID.String())
		t, v7 := ask.ID.Time()
		date(&d, t, v7)
		date(&a, ask.Age.UTC(), !ask.Age.IsZero())
		hasAge = hasAge || !ask.Age.IsZero()
		if ask.Key != (inbox.UID{}) {
			hasKey = true
			k.WriteString(ask.Key.String())
		} else {
			k.WriteString("NULL")
		}
	}
	for _, b := range []*strings.Builder{&i, &d, &a, &k} {
		b.WriteByte('}')
	}
	ids, days = i.String(), d.String()
	if hasAge {
		ages = a.String()
	}
	if hasKey {
		keys = k.String()
	}
	return ids, days, ages, keys
}

func date(b *strings.Builder, t time.Time, ok bool) {
	if !ok {
		b.WriteString("NULL")
		return
	}
	b.WriteString(t.Format(time.DateOnly))
}

// Took is that of inbox.Claims.
func (s *Store[T]) Took(ctx context.Context, tx T, consumer string, ids []inbox.UID, each time.Duration) error {
	_, err := s.d.In(tx).Exec(ctx, `UPDATE cdc_inbox.claimed SET took_us = $3 WHERE consumer = cdc_inbox.consumer_v1($1) AND id = ANY ($2::text::uuid[])`,
		consumer, uuids(ids), min(each.Microseconds(), 1<<31-1))
	return Fail("note how long the handler took", err)
}

// AddAttempts is that of inbox.Claims.
func (s *Store[T]) AddAttempts(ctx context.Context, consumer string, id inbox.UID, delta int) (int, error) {
	var tries int64
	err := s.d.Auto().Query(ctx, `INSERT INTO cdc_inbox.attempt AS a (consumer, id, tries) VALUES (cdc_inbox.consumer_v1($1), $2::text::uuid, greatest($3::int, 0))
		ON CONFLICT (consumer, id) DO UPDATE SET tries = greatest(a.tries + $3::int, 0), at = now() RETURNING tries::bigint`,
		[]any{consumer, id.String(), delta}, func(scan func(...any) error) error { return scan(&tries) })
	return int(tries), Fail("count a try", err)
}

// ClearAttempts is that of inbox.Claims.
func (s *Store[T]) ClearAttempts(ctx context.Context, tx T, consumer string, ids []inbox.UID) error {
	_, err := s.d.In(tx).Exec(ctx, `DELETE FROM cdc_inbox.attempt WHERE consumer = cdc_inbox.consumer_v1($1) AND id = ANY ($2::text::uuid[])`, consumer, uuids(ids))
	return Fail("forget tries", err)
}
