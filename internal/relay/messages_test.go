package relay_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

func messages(on bool) func(*relay.Config) { return func(c *relay.Config) { c.Messages = on } }

// tableless commits events of key k in one transaction: 'r' with a row, 'm' without, 's' without and of a subtransaction.
func (b *bed) tableless(kinds string) walsender.Txn {
	rows := make([]walsender.Row, len(kinds))
	for i, kind := range kinds {
		b.n++
		rows[i] = walsender.OutboxRow(b.rel, b.n, "k", fmt.Sprintf(`{"n":%d}`, b.n))
		rows[i].Tableless, rows[i].Sub = kind != 'r', kind == 's'
	}
	return b.srv.Commit(rows...)
}

func TestMessages_RefusedWhilePublicMayWriteThem(t *testing.T) {
	inBed(t, func(b *bed) {
		b.db.Forgery = true
		b.stops(b.run(messages(true)), relay.ExitPrecondition, "PUBLIC", "REVOKE", "cdc_relay.emit_message", "messages: off")
		if _, ok := b.srv.Slot("cdc_relay"); ok {
			t.Error("the slot was made all the same")
		}
		b.start() // without messages it is nobody's concern
	})
}

func TestMessages_InOneOrderWithRows(t *testing.T) {
	inBed(t, func(b *bed) {
		b.start(messages(true))
		b.tableless("rmrsrmsrsss")
		b.tableless("s")
		b.confirmed(b.tableless("srsr").End)
		if got := b.stored(); !slices.IsSorted(got) || len(got) != b.n {
			t.Errorf("got %v", got)
		}
	})
}

// TestI9_MessagesAcrossConfigurations: a transaction keeps its events and their places, whoever reads it again.
func TestI9_MessagesAcrossConfigurations(t *testing.T) {
	inBed(t, func(b *bed) {
		p := b.start(messages(true))
		up := b.to.Down()
		b.tableless("mrmr")
		p.Crash()
		p = b.start() // off: what was committed before is published as it would have been
		b.tableless("rmr")
		p.Crash()
		up()
		b.start(messages(true))
		b.tableless("mr")
		b.holds(4 + 2 + 2)
		var got []string
		for _, r := range b.to.Stored() {
			at := slices.IndexFunc(r.Headers, func(h sinktest.Header) bool { return h.Name == "cdc-index" })
			got = append(got, fmt.Sprintf("%s at %s", r.Value, r.Headers[at].Value))
		}
		want := []string{
			`{"n":1} at 0`, `{"n":2} at 1`, `{"n":3} at 2`, `{"n":4} at 3`,
			`{"n":5} at 0`, `{"n":7} at 1`,
			`{"n":8} at 0`, `{"n":9} at 1`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
