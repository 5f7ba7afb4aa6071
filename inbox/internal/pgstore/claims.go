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
	ids, days, ages := arrays(asks)
	var letters *string
	parked := false
	err := q.Query(ctx, "SELECT states, any_parked FROM cdc_inbox.claim_v1($1, $2::text::uuid[], $3::text::date[], $4::text::date[])",
		[]any{consumer, ids, days, ages}, func(scan func(...any) error) error { return scan(&letters, &parked) })
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
		case 'x':
			answers[i].State = inbox.TooOld
		}
	}
	if !parked {
		return answers, nil
	}
	return answers, lookForKeys(ctx, q, consumer, asks, answers)
}

// lookForKeys fills in which of the fresh ones have a parked key.
func lookForKeys(ctx context.Context, q Querier, consumer string, asks []inbox.Ask, answers []inbox.Answer) error {
	var keys []inbox.UID
	var at []int
	for i := range asks {
		if key, ok := inbox.KeyUID(asks[i].Topic, asks[i].Key); ok && answers[i].State == inbox.Fresh {
			keys, at = append(keys, key), append(at, i)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := parkedKeys(ctx, q, consumer, keys)
	for n, i := range at {
		answers[i].Parked = err == nil && found[n]
	}
	return err
}

// arrays are the arguments of claim_v1. Days are one when all ids are of that day; ages are null when there is none.
func arrays(asks []inbox.Ask) (ids, days string, ages any) {
	var i, d strings.Builder
	i.Grow(2 + 37*len(asks))
	hasAge := false
	var day time.Time
	same := true
	for n := range asks {
		sep := byte(',')
		if n == 0 {
			sep = '{'
		}
		ask := &asks[n]
		i.WriteByte(sep)
		i.WriteString(ask.ID.String())
		t, v7 := ask.ID.Time()
		t = t.Truncate(24 * time.Hour)
		if n == 0 {
			day = t
		}
		same = same && v7 && t.Equal(day)
		hasAge = hasAge || !ask.Age.IsZero()
	}
	i.WriteByte('}')
	if same {
		return i.String(), "{" + day.Format(time.DateOnly) + "}", agesOf(asks, hasAge)
	}
	for n := range asks {
		t, v7 := asks[n].ID.Time()
		date(&d, n, t, v7)
	}
	d.WriteByte('}')
	return i.String(), d.String(), agesOf(asks, hasAge)
}

func agesOf(asks []inbox.Ask, has bool) any {
	if !has {
		return nil
	}
	var a strings.Builder
	for n := range asks {
		date(&a, n, asks[n].Age.UTC(), !asks[n].Age.IsZero())
	}
	a.WriteByte('}')
	return a.String()
}

// date appends element n of an array.
func date(b *strings.Builder, n int, t time.Time, ok bool) {
	sep := byte(',')
	if n == 0 {
		sep = '{'
	}
	b.WriteByte(sep)
	if !ok {
		b.WriteString("NULL")
		return
	}
	b.WriteString(t.Format(time.DateOnly))
}

// Took is that of inbox.Claims.
func (s *Store[T]) Took(ctx context.Context, tx T, consumer string, ids []inbox.UID, each time.Duration) error {
	_, err := s.d.In(tx).Exec(ctx, `UPDATE cdc_inbox.claimed SET took_us = $3 WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND id = ANY ($2::text::uuid[])`,
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
	_, err := s.d.In(tx).Exec(ctx, `DELETE FROM cdc_inbox.attempt WHERE consumer = (SELECT cdc_inbox.consumer_v1($1)) AND id = ANY ($2::text::uuid[])`, consumer, uuids(ids))
	return Fail("forget tries", err)
}
