package inboxhttp_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
	"github.com/cdc-relay/cdc-relay/inbox/inboxhttp"
	"github.com/cdc-relay/cdc-relay/inbox/inboxtest"
)

// post sends one request and returns the answer's code and header.
func post(t *testing.T, h http.Handler, body string, headers ...string) (int, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/events", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Header()
}

func serve(t *testing.T, store *inboxtest.Store, o inboxhttp.Options, h inbox.Handler[*inboxtest.Tx]) http.Handler {
	t.Helper()
	p, err := inbox.NewProcessor(store, "c", h, inbox.Options{Backoff: time.Millisecond, Tries: 2})
	if err != nil {
		t.Fatal(err)
	}
	o.Consumer = "c"
	return inboxhttp.New(p, o)
}

// A sender tries again when, and only when, trying again can change something.
func TestStatusCodes(t *testing.T) {
	t.Parallel()
	var fail error
	store := inboxtest.New()
	h := serve(t, store, inboxhttp.Options{Topic: "orders", MaxBytes: 10}, func(_ context.Context, tx *inboxtest.Tx, m *inbox.Message) error {
		tx.Add(m.ID, 1)
		return fail
	})
	expect := func(want int, body string, headers ...string) http.Header {
		t.Helper()
		code, header := post(t, h, body, headers...)
		if code != want {
			t.Errorf("%q %v: %d, want %d", body, headers, code, want)
		}
		return header
	}
	expect(204, "{}", "event_id", "a")
	expect(204, "{}", "event_id", "a") // a duplicate
	fail = errors.New("not now")
	expect(500, "{}", "event_id", "b")
	fail = inbox.RetryAfter(1500*time.Millisecond, fail)
	if got := expect(503, "{}", "event_id", "b").Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q, want 2", got)
	}
	fail = nil
	expect(204, "{}", "Event-Id", "b")
	fail = inbox.Skip("not ours")
	expect(204, "{}", "event_id", "c")
	fail = inbox.Permanent(errors.New("never"))
	expect(202, "{}", "event_id", "d", "aggregate_id", "k")
	fail = nil
	expect(202, "{}", "event_id", "e", "aggregate_id", "k") // waits behind it
	expect(202, "{}")                                       // no id: another try brings none either
	expect(413, "12345678901", "event_id", "f")
	store.CutAt(inboxtest.BeforeCommit)
	expect(204, "{}", "event_id", "g") // tried again here
	store.CrashAt(inboxtest.BeforeBegin)
	expect(500, "{}", "event_id", "h")
	store.Restart()
	if store.Get("a") != 1 || store.Get("b") != 1 || store.Get("d") != nil || store.Get("g") != 1 {
		t.Errorf("effects a %v, b %v, d %v, g %v", store.Get("a"), store.Get("b"), store.Get("d"), store.Get("g"))
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
}

// CloudEvents over HTTP: the same event in binary and in structured mode is one event.
func TestCloudEvents(t *testing.T) {
	t.Parallel()
	var got []*inbox.Message
	h := serve(t, inboxtest.New(), inboxhttp.Options{}, func(_ context.Context, _ *inboxtest.Tx, m *inbox.Message) error {
		got = append(got, m)
		return nil
	})
	binary := []string{"Ce-Id", "ev-1", "Ce-Source", "/shop", "Ce-Type", "Order%20Created", "Ce-Time", "2026-01-02T03:04:05Z", "Ce-Partitionkey", "o-1", "Content-Type", "application/json"}
	if code, _ := post(t, h, `{"n":1}`, binary...); code != 204 {
		t.Fatal(code)
	}
	structured := `{"specversion":"1.0","id":"ev-1","source":"/shop","type":"Order Created","data":{"n":1}}`
	for range 2 {
		if code, _ := post(t, h, structured, "Content-Type", "application/cloudevents+json; charset=utf-8"); code != 204 {
			t.Fatal(code)
		}
	}
	if code, _ := post(t, h, strings.Replace(structured, "ev-1", "ev-2", 1), "Content-Type", "application/cloudevents+json"); code != 204 {
		t.Fatal(code)
	}
	if len(got) != 2 || got[0].ID != "ev-1" || got[0].Type != "Order Created" || string(got[0].Key) != "o-1" || got[0].Time.IsZero() || string(got[1].Data()) != `{"n":1}` {
		t.Errorf("got %d messages: %+v", len(got), got)
	}
}

// With MaxAttempts a message that fails often enough becomes a dead letter, and the sender may stop.
func TestMaxAttempts(t *testing.T) {
	t.Parallel()
	store := inboxtest.New()
	h := serve(t, store, inboxhttp.Options{Attempts: store, MaxAttempts: 3}, func(context.Context, *inboxtest.Tx, *inbox.Message) error { return errors.New("broken") })
	for _, want := range []int{500, 500, 202} {
		if code, _ := post(t, h, "{}", "event_id", "a"); code != want {
			t.Errorf("%d, want %d", code, want)
		}
	}
}
