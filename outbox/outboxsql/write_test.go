package outboxsql_test

import (
	"database/sql"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxsql"
)

func TestExampleRuns(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	if _, err := migrations.Up(t.Context(), pg.Conn(t), migrations.NewOptions()); err != nil {
		t.Fatal(err)
	}
	pg.Exec(t, "CREATE TABLE orders (id text PRIMARY KEY)")
	for _, name := range []string{"postgres", "pgx"} { // lib/pq and pgx's stdlib
		t.Run(name, func(t *testing.T) {
			db, err := sql.Open(name, pg.URL())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if err := placeOrder(t.Context(), db, name, []string{"book", "pen"}); err != nil {
				t.Fatal(err)
			}
			if err := placeOrder(t.Context(), db, name, []string{"book", "pen"}); err == nil {
				t.Error("the order is there already, and its events were written")
			}
			var got string
			if err := db.QueryRowContext(t.Context(), "SELECT string_agg(concat_ws(' ', event_type, payload), ', ' ORDER BY seq) FROM outbox WHERE aggregate_id = $1", name).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if want := `OrderPlaced {"id": "` + name + `"}, ItemAdded {"item": "book"}, ItemAdded {"item": "pen"}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestNewWriterNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := outboxsql.NewWriter(outbox.Options{}); err == nil || !strings.Contains(err.Error(), "payload type") {
		t.Errorf("options of zeros: %v", err)
	}
}
