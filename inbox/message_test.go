package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

func headers(all ...string) (out []inbox.Header) {
	for i := 0; i < len(all); i += 2 {
		out = append(out, inbox.Header{Key: all[i], Value: []byte(all[i+1])})
	}
	return out
}

// Each format that the relay writes, and CloudEvents of others, gives id, type and position.
func TestDecode(t *testing.T) {
	t.Parallel()
	at := inbox.Position{Source: "7:1:x:s", LSN: 0x16B3748, Index: 12}
	position := []string{"cdc-source", at.Source, "cdc-lsn", "00000000016B3748", "cdc-index", "12"}
	for name, c := range map[string]struct {
		headers         []string
		value           string
		id, kind, data  string
		prev            inbox.Switch
		position, wrong bool
	}{
		"plain":      {append([]string{"event_id", "a", "event_type", "T", "id", "row's own"}, position...), "v", "a", "T", "v", inbox.Switch{}, true, false},
		"binary":     {append([]string{"ce_id", "b", "ce_type", "U", "ce_source", "/s"}, position...), "v", "b", "U", "v", inbox.Switch{}, true, false},
		"debezium":   {append([]string{"id", "c", "eventType", "V"}, position...), "v", "c", "V", "v", inbox.Switch{}, true, false},
		"prev":       {append([]string{"event_id", "a", "cdc-source-prev", "7:0:x:s@1/2A"}, position...), "v", "a", "", "v", inbox.Switch{Source: "7:0:x:s", LSN: 1<<32 | 0x2A}, true, false},
		"structured": {[]string{"content-type", "application/cloudevents+json"}, `{"id":"d","source":"/s","type":"W","data":{"n":1}}`, "d", "W", `{"n":1}`, inbox.Switch{}, false, false},
		"bytes":      {[]string{"content-type", "application/cloudevents+json; charset=UTF-8"}, `{"id":"d","type":"W","data_base64":"AAE="}`, "d", "W", "\x00\x01", inbox.Switch{}, false, false},
		"text":       {[]string{"content-type", "application/cloudevents+json"}, `{"id":"d","datacontenttype":"text/plain","data":"a\"b"}`, "d", "", `a"b`, inbox.Switch{}, false, false},
		"json text":  {[]string{"content-type", "application/cloudevents+json"}, `{"id":"d","data":"a"}`, "d", "", `"a"`, inbox.Switch{}, false, false},
		"no JSON":    {[]string{"content-type", "application/cloudevents+json"}, `{`, "", "", `{`, inbox.Switch{}, false, true},
		"no id":      {[]string{"content-type", "application/cloudevents+json"}, `{}`, "", "", `{}`, inbox.Switch{}, false, true},
		"bad lsn":    {[]string{"event_id", "a", "cdc-source", "s", "cdc-lsn", "16B3748", "cdc-index", "0"}, "v", "", "", "v", inbox.Switch{}, false, true},
		"bad index":  {[]string{"event_id", "a", "cdc-source", "s", "cdc-lsn", "00000000016B3748"}, "v", "", "", "v", inbox.Switch{}, false, true},
		"bad prev":   {append([]string{"event_id", "a", "cdc-source-prev", "s"}, position...), "v", "", "", "v", inbox.Switch{}, false, true},
	} {
		m := &inbox.Message{Value: []byte(c.value), Headers: headers(c.headers...)}
		err := m.Decode()
		want := inbox.Position{}
		if c.position {
			want = at
		}
		if (err != nil) != c.wrong || m.ID != c.id || m.Type != c.kind || string(m.Data()) != c.data || m.Position != want || m.Prev != c.prev {
			t.Errorf("%s: %+v, data %q, %v", name, m, m.Data(), err)
		}
	}
}

// An id that is no UUID is one of its source; the same id of two sources is two events; these names stand in databases.
func TestIdentify(t *testing.T) {
	t.Parallel()
	id := func(topic string, all ...string) string {
		u, err := inbox.Identify(&inbox.Message{Topic: topic, Headers: headers(all...)}, inbox.Reject)
		if err != nil {
			t.Fatal(err)
		}
		return u.String()
	}
	const v7 = "018f4f5e-7c00-7abc-8def-0123456789ab"
	if got := id("a", "event_id", "018F4F5E-7C00-7ABC-8DEF-0123456789AB"); got != v7 {
		t.Errorf("a UUID became %s", got)
	}
	if at, ok := inbox.UID.Time(func() inbox.UID { u, _ := inbox.ParseUID(v7); return u }()); !ok || !at.Equal(time.UnixMilli(0x018f4f5e7c00)) {
		t.Errorf("its time is %v, %v", at, ok)
	}
	if got := id("a", "event_id", "1"); got != "3d534b68-e7de-5742-88a0-cdaf359f3ff8" {
		t.Errorf("id 1 of topic a became %s", got)
	}
	if id("a", "event_id", "1") == id("b", "event_id", "1") || id("a", "ce_id", "1", "ce_source", "/s") != id("b", "ce_id", "1", "ce_source", "/s") {
		t.Error("the source of an id is its CloudEvent's source, else its topic")
	}
	if id("ab", "event_id", "c") == id("a", "event_id", "bc") {
		t.Error("source and id run into each other")
	}
	for _, bad := range []string{"018f4f5e7c007abc8def0123456789ab", "018f4f5e-7c00-7abc-8def-0123456789a", "018f4f5e-7c00-7abc-8def-0123456789ag", ""} {
		if _, ok := inbox.ParseUID(bad); ok {
			t.Errorf("%q passes for a UUID", bad)
		}
	}
}

type tx struct{}

// Typed handlers refuse what is not theirs for good; a mux leaves other types alone.
func TestHandlers(t *testing.T) {
	t.Parallel()
	type order struct{ N int }
	var got []string
	h := inbox.NewMux[tx]().
		Handle("Order", inbox.JSON(func(_ context.Context, _ tx, _ *inbox.Message, o order) error {
			got = append(got, fmt.Sprint(o.N))
			return nil
		})).
		Handle("Maybe", inbox.JSON(func(_ context.Context, _ tx, _ *inbox.Message, o *order) error {
			got = append(got, fmt.Sprint(o == nil))
			return nil
		})).Handler()
	do := func(kind, value string) error {
		m := &inbox.Message{Type: kind}
		if value != "" {
			m.Value = []byte(value)
		}
		return h(t.Context(), tx{}, m)
	}
	if err := errors.Join(do("Order", `{"N":7}`), do("Maybe", "")); err != nil {
		t.Error(err)
	}
	if err := do("Order", `{"N":`); !inbox.IsPermanent(err) {
		t.Errorf("broken JSON: %v", err)
	}
	if err := do("Order", ""); !inbox.IsPermanent(err) {
		t.Errorf("a null payload: %v", err)
	}
	if err := do("Other", "{}"); !inbox.IsSkip(err) {
		t.Errorf("another type: %v", err)
	}
	if fmt.Sprint(got) != "[7 true]" {
		t.Errorf("got %v", got)
	}
	if d, ok := inbox.RetryDelay(fmt.Errorf("w: %w", inbox.RetryAfter(time.Second, errors.New("x")))); !ok || d != time.Second {
		t.Errorf("RetryDelay: %v, %v", d, ok)
	}
	if inbox.Permanent(nil) != nil || inbox.RetryAfter(1, nil) != nil {
		t.Error("nil is no error")
	}
}

// FuzzDecode: headers and envelopes of strangers never panic, and what cannot be read has no id.
func FuzzDecode(f *testing.F) {
	f.Add("application/cloudevents+json", `{"id":"d","data":"a"}`, "s@0/1", "00000000016B3748", "1")
	f.Fuzz(func(t *testing.T, kind, value, prev, lsn, index string) {
		m := &inbox.Message{Value: []byte(value), Headers: headers("content-type", kind, "cdc-source", "s", "cdc-source-prev", prev, "cdc-lsn", lsn, "cdc-index", index)}
		if err := m.Decode(); err != nil && m.ID != "" {
			t.Errorf("%v, and id %q", err, m.ID)
		}
		_ = m.Data()
		_, _ = inbox.Identify(m, inbox.UsePosition)
	})
}
