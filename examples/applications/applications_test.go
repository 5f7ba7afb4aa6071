package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/internal/testenv/foreign"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// database returns a migrated database with a table of orders, as an application's role: INSERT and nothing more.
func database(t *testing.T) (pg *testenv.PG, url string) {
	t.Helper()
	pg = testenv.Postgres(t)
	if _, err := migrations.Up(t.Context(), pg.Conn(t), migrations.NewOptions()); err != nil {
		t.Fatal(err)
	}
	role, url := pg.CreateRole(t)
	pg.Exec(t, "CREATE TABLE orders (id text PRIMARY KEY, total numeric); GRANT INSERT ON orders, outbox TO "+role)
	return pg, url
}

// placed is what every program must have left behind, and prints the id of.
func placed(t *testing.T, conn *pgx.Conn) (eventID string) {
	t.Helper()
	var got string
	err := conn.QueryRow(t.Context(), `SELECT o.event_id, concat_ws(' ', (SELECT concat_ws(' ', id, total) FROM orders), aggregate_type, aggregate_id, event_type, payload, headers)
		FROM outbox o WHERE topic IS NULL AND partition_key IS NULL`).Scan(&eventID, &got)
	if err != nil {
		t.Fatal(err)
	}
	if want := `o-1 12.3 orders o-1 OrderPlaced {"id": "o-1", "total": 12.3} {"tenant": "acme"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if eventID[14] != '7' {
		t.Errorf("%s is no UUIDv7", eventID)
	}
	return eventID
}

// Every program commits order and event together, prints the event's id, and leaves neither when it fails.
func TestPrograms(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]func(t *testing.T) []string{
		"Go": func(t *testing.T) []string {
			program := filepath.Join(t.TempDir(), "order")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			return []string{program}
		},
		"Python": func(t *testing.T) []string {
			python, err := foreign.Python(t.Context(), os.Stderr)
			if err != nil {
				testenv.Skip(t, "psycopg", err)
			}
			return []string{python, filepath.Join(here, "order.py")}
		},
		"Java": func(t *testing.T) []string {
			classPath, err := foreign.Java(t.Context(), os.Stderr)
			if err != nil {
				testenv.Skip(t, "the JDBC driver", err)
			}
			return []string{"java", "-cp", classPath, filepath.Join(here, "Order.java")}
		},
		"Node": func(t *testing.T) []string {
			modules, err := foreign.Node(t.Context(), os.Stderr)
			if err != nil {
				testenv.Skip(t, "pg for Node", err)
			}
			// A module is looked for beside the file that imports it.
			dir := t.TempDir()
			text, err := os.ReadFile("order.mjs")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "order.mjs"), text, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
			return []string{"node", filepath.Join(dir, "order.mjs")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := command(t)
			pg, url := database(t)
			run := func() (string, error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var out, words bytes.Buffer
				cmd := exec.CommandContext(ctx, args[0], args[1:]...)
				cmd.Stdout, cmd.Stderr = &out, &words
				cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "JDBC_URL="+jdbc(t, url))
				err := cmd.Run()
				t.Logf("%s%s", out.String(), words.String())
				return strings.TrimSpace(out.String()), err
			}
			printed, err := run()
			if err != nil {
				t.Fatal(err)
			}
			if id := placed(t, pg.Conn(t)); printed != id {
				t.Errorf("printed %q, the event is %s", printed, id)
			}
			if _, err := run(); err == nil { // the order is there already
				t.Error("a second order of that id was taken")
			}
			placed(t, pg.Conn(t)) // and still one event
		})
	}
}

// jdbc makes a JDBC URL of a Postgres URL.
func jdbc(t *testing.T, url string) string {
	t.Helper()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ := strings.Cut(strings.SplitN(url, "@", 2)[1], "?")
	return "jdbc:postgresql://" + address + "?user=" + c.User + "&password=" + c.Password
}

// The trigger writes the event of a plain INSERT, with the rights of whoever inserts.
func TestTrigger(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("trigger.sql")
	if err != nil {
		t.Fatal(err)
	}
	pg, url := database(t)
	pg.Exec(t, string(text))
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "INSERT INTO orders (id, total) VALUES ('o-1', 12.3)"); err != nil {
		t.Fatal(err)
	}
	placed(t, pg.Conn(t))
}

// TestPage holds docs/applications.md to the files: below a line <!-- FILE --> stands the file, whole. UPDATE=1 writes it anew.
func TestPage(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "applications.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for _, file := range []string{"main.go", "order.py", "Order.java", "order.mjs", "trigger.sql"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, ok := strings.Cut(want, "<!-- examples/applications/"+file+" -->\n```")
		if !ok {
			t.Errorf("docs/applications.md does not show %s", file)
			continue
		}
		language, rest, _ := strings.Cut(rest, "\n")
		_, after, _ := strings.Cut("\n"+rest, "\n```\n")
		want = head + "<!-- examples/applications/" + file + " -->\n```" + language + "\n" + string(text) + "```\n" + after
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Error("docs/applications.md is stale: UPDATE=1 go test ./examples/applications -run Page")
	}
}
