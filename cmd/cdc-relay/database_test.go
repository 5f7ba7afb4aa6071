package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/cli"
	"github.com/cdc-relay/cdc-relay/internal/testenv"
)

// database is a fresh database with a role for the relay, and the environment that names both.
type database struct {
	*testenv.PG
	env  []string
	slot string
}

func newDatabase(t *testing.T, version ...string) *database {
	t.Helper()
	pg := testenv.Postgres(t, version...)
	_, relay := pg.CreateRole(t, "REPLICATION")
	slot := pg.SlotName(t)
	return &database{PG: pg, slot: slot, env: []string{
		"CDC_RELAY_DATABASE_URL=" + relay, "CDC_RELAY_MIGRATE_URL=" + pg.URL(), "CDC_RELAY_REPLICATION_SLOT=" + slot, "USER=tester",
	}}
}

func (d *database) call(t *testing.T, args ...string) result {
	t.Helper()
	return call(t, d.env, args...)
}

// decode reads data as JSON into v.
func (r result) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), v); err != nil {
		t.Fatalf("no JSON: %v\n%s\n%s", err, r.out, r.err)
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.call(t, "migrate", "status").expect(t, cli.Precondition, "migrations are pending")
	d.call(t, "slot", "create").expect(t, cli.Precondition, "migrate up")

	var up struct{ Applied []string }
	r := d.call(t, "migrate", "up", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &up); len(up.Applied) == 0 {
		t.Error("nothing was applied")
	}
	r = d.call(t, "migrate", "up")
	r.expect(t, cli.OK, "nothing to do")
	if r.out != "" {
		t.Errorf("a second run says %q", r.out)
	}
	r = d.call(t, "migrate", "status")
	r.expect(t, cli.OK)
	if strings.Contains(r.out, "pending") || !strings.Contains(r.out, "001_outbox") {
		t.Errorf("got %s", r.out)
	}
	r = d.call(t, "migrate", "print")
	r.expect(t, cli.OK)
	if !strings.Contains(r.out, "CREATE TABLE") {
		t.Error("no SQL")
	}
}

func TestConnectionErrorsNameTheCure(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	_, relay := pg.CreateRole(t, "REPLICATION")
	u, err := url.Parse(relay)
	if err != nil {
		t.Fatal(err)
	}
	none := *u
	none.Path = "/no_such_database"
	call(t, []string{"CDC_RELAY_DATABASE_URL=" + none.String()}, "slot", "list").
		expect(t, cli.Precondition, `connect to database "no_such_database"`, "SQLSTATE 3D000", "name an existing database")
	nobody := *u
	nobody.Host = "127.0.0.1:1"
	r := call(t, []string{"CDC_RELAY_DATABASE_URL=" + nobody.String()}, "slot", "list")
	r.expect(t, cli.Failed, "127.0.0.1:1", "is the server up")
	if password, _ := u.User.Password(); password != "" && strings.Contains(r.err, password) {
		t.Error("the password is shown")
	}
	call(t, []string{"CDC_RELAY_DATABASE_URL=" + relay}, "pause").expect(t, cli.Precondition, "migrate up")
	call(t, []string{"CDC_RELAY_DATABASE_URL=" + relay}, "dlq", "list").expect(t, cli.Precondition, "migrate up")
	call(t, []string{"CDC_RELAY_DATABASE_URL=" + relay}, "publication", "show").expect(t, cli.Precondition, "the publication does not exist", "publication create")
}

func TestSlotLife(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.call(t, "migrate", "up").expect(t, cli.OK)

	d.call(t, "slot", "adopt").expect(t, cli.SlotUnusable, "the slot does not exist")
	d.call(t, "pause").expect(t, cli.SlotUnusable, "no mark")
	var made struct {
		Slot, Incarnation string
		Mark              string `json:"mark_lsn"`
	}
	r := d.call(t, "slot", "create", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &made); made.Slot != d.slot || made.Mark == "" || made.Incarnation == "" {
		t.Errorf("got %+v", made)
	}
	d.call(t, "slot", "create").expect(t, cli.Precondition, "already exists", "slot adopt")

	var list []slotRow
	d.call(t, "slot", "list", "-o", "json").decode(t, &list)
	if len(list) != 1 || list[0].Name != d.slot || list[0].Mark == nil || *list[0].Mark != list[0].Confirmed {
		t.Fatalf("got %+v", list)
	}
	if r := d.call(t, "slot", "list"); !strings.Contains(r.out, d.slot) || !strings.HasPrefix(r.out, "SLOT ") {
		t.Errorf("got %s", r.out)
	}

	d.call(t, "pause").expect(t, cli.OK, "paused slot "+d.slot)
	d.call(t, "slot", "list", "-o", "json").decode(t, &list)
	if !list[0].Paused {
		t.Error("the slot is not paused")
	}
	d.call(t, "resume").expect(t, cli.OK, "resumed slot "+d.slot)

	before := list[0].Confirmed
	d.call(t, "slot", "advance", "--to", "now", "--yes", d.slot).expect(t, cli.OK, "moved slot")
	d.call(t, "slot", "list", "-o", "json").decode(t, &list)
	if list[0].Confirmed == before || *list[0].Mark != list[0].Confirmed {
		t.Errorf("after advance: slot %s (was %s), mark %s", list[0].Confirmed, before, *list[0].Mark)
	}

	// somebody moves the slot by hand: the mark is behind, adopting gives something up
	d.Exec(t, "SELECT pg_logical_emit_message(false, 'x', 'y')")
	d.Exec(t, "SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", d.slot)
	d.call(t, "slot", "adopt").expect(t, cli.Usage, "giving up what was committed between", "--yes "+d.slot)
	d.call(t, "slot", "adopt", "--yes", d.slot, "--new-incarnation").expect(t, cli.OK, "adopted slot")
	d.call(t, "slot", "list", "-o", "json").decode(t, &list)
	if list[0].Incarnation == made.Incarnation {
		t.Error("the incarnation did not change")
	}

	d.call(t, "slot", "drop", "--yes", d.slot).expect(t, cli.OK, "dropped slot", "forgot the mark")
	d.call(t, "slot", "drop", "--yes", d.slot).expect(t, cli.Failed, "does not exist and has no mark")
	d.call(t, "slot", "list", "-o", "json").decode(t, &list)
	if len(list) != 0 {
		t.Errorf("still there: %+v", list)
	}
}

func TestPublicationLife(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.call(t, "migrate", "up").expect(t, cli.OK)
	var row publicationRow
	r := d.call(t, "publication", "show", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &row); row.Matches != nil || len(row.Tables) != 1 || row.Tables[0] != "public.outbox" || strings.Join(row.Publishes, " ") != "insert" || !row.ViaRoot {
		t.Errorf("got %+v", row)
	}
	d.call(t, "slot", "create").expect(t, cli.OK)
	d.call(t, "publication", "show").expect(t, cli.OK)

	d.Exec(t, "CREATE TABLE other (a int)")
	d.Exec(t, "ALTER PUBLICATION cdc_relay ADD TABLE other")
	d.call(t, "publication", "show").expect(t, cli.Precondition, "also contains public.other", "is not the one that slot")
	r = d.call(t, "publication", "accept")
	r.expect(t, cli.OK, "goes on with publication cdc_relay")
	if !strings.Contains(r.out, "BEFORE") || !strings.Contains(r.out, "other") {
		t.Errorf("got %s", r.out)
	}
	d.call(t, "publication", "show").expect(t, cli.OK, "note: ")

	d.Exec(t, "ALTER PUBLICATION cdc_relay SET (publish = 'insert, update')")
	d.call(t, "publication", "show").expect(t, cli.Precondition, "problem: ", "must publish inserts and nothing else")

	d.call(t, "publication", "drop", "--yes", "cdc_relay").expect(t, cli.OK, "dropped publication")
	d.call(t, "publication", "drop", "--yes", "cdc_relay").expect(t, cli.Failed, "does not exist")
	d.call(t, "publication", "create").expect(t, cli.Usage, "--yes "+d.slot)
	d.call(t, "publication", "create", "--yes", d.slot).expect(t, cli.OK, "made publication cdc_relay for public.outbox", "slot advance --to now")
	d.call(t, "publication", "show").expect(t, cli.OK) // the mark knows the new one
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.call(t, "migrate", "up").expect(t, cli.OK)
	var list []partitionRow
	r := d.call(t, "partitions", "list", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &list); len(list) < 8 || !list[len(list)-1].Default {
		t.Errorf("got %+v", list)
	}
	var reports []tableReport
	r = d.call(t, "partitions", "maintain", "-o", "json", "--set", "retention.premake=9")
	r.expect(t, cli.OK)
	if r.decode(t, &reports); len(reports) != 1 || len(reports[0].Made) != 2 || reports[0].PremadeDays != 9 {
		t.Errorf("got %+v", reports)
	}
	d.call(t, "partitions", "maintain").expect(t, cli.OK, "days premade")
	if r := d.call(t, "partitions", "list"); !strings.Contains(r.out, "outbox_default") {
		t.Errorf("got %s", r.out)
	}
}

func TestDeadLettersAndSkip(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.call(t, "migrate", "up").expect(t, cli.OK)
	d.call(t, "skip", "--position", "0/1/0", "--why", "x").expect(t, cli.Failed, "not found")
	d.call(t, "slot", "create").expect(t, cli.OK)

	r := d.call(t, "dlq", "list", "-o", "json")
	r.expect(t, cli.OK)
	if got, want := strings.TrimSpace(r.out), "[]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.call(t, "dlq", "show", "7").expect(t, cli.Failed, "dead letter 7 of slot", "not found")
	d.call(t, "dlq", "requeue", "7").expect(t, cli.Failed, "ids [7] are unknown or resolved already")
	d.call(t, "dlq", "drop", "7", "--yes", d.slot).expect(t, cli.Failed, "ids [7] are unknown")
	d.call(t, "dlq", "requeue", "--everything").expect(t, cli.OK, "marked 0 of all dead letters")

	d.call(t, "skip", "--position", "0/1/0", "--why", "x").expect(t, cli.Failed, "the mark has passed the position")
	var skipped struct {
		ID       int64
		Position string
	}
	r = d.call(t, "skip", "--position", "7FFF/1/3", "--why", "ticket 1", "-o", "json")
	r.expect(t, cli.OK)
	if r.decode(t, &skipped); skipped.ID == 0 || skipped.Position != "7FFF/1/3" {
		t.Errorf("got %+v", skipped)
	}
	r = d.call(t, "dlq", "list", "--all")
	r.expect(t, cli.OK)
	if !strings.Contains(r.out, "skipped") {
		t.Errorf("got %s", r.out)
	}
	r = d.call(t, "dlq", "show", "1")
	if r.code == cli.OK && !strings.Contains(r.out, "ticket 1") {
		t.Errorf("got %s", r.out)
	}
	r = d.call(t, "dlq", "export", "--all")
	r.expect(t, cli.OK, "1 dead letters")
	if !strings.Contains(r.out, `"state_by":"tester"`) {
		t.Errorf("the audit does not know who: %s", r.out)
	}
}
