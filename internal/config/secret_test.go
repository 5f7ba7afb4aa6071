package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestSecretNeverPrintsItself(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `database: {url: "postgres://relay:hunter2@db/app", password: hunter2}
sink: {kafka: {brokers: ["a:1"], sasl: {mechanism: plain, username: u, password: hunter2}}}
admin: {token: hunter2}
`, nil)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", *c), fmt.Sprintf("%#v", c.Database), fmt.Sprintf("%s %q %x", c.Admin.Token, c.Admin.Token, c.Admin.Token), c.Admin.Token.String(), string(text)} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("shows the secret: %s", shown)
		}
	}
	for _, v := range c.Values() {
		if strings.Contains(fmt.Sprint(v.Text, v.Any), "hunter2") {
			t.Errorf("%s shows the secret", v.Path)
		}
	}
}

func TestMistakesDoNotShowPasswords(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://relay:hunter2%zz@db/app", "mysql://relay:hunter2@db", "relay:hunter2@db"} {
		_, err := load(t, "database: {url: \""+url+"\"}\nsink: {stdout: {}}\n", nil)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", MaskURL(url), err)
		}
	}
}

func TestSecretFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	c := mustLoad(t, smallest+"admin: {token_file: "+path+"}\n", nil) // made later: loading needs no secret
	if _, err := c.Admin.Token.Read(); err == nil {
		t.Error("read a file that does not exist")
	}
	for _, want := range []string{"one", "two"} {
		write(t, path, want+"\n")
		if got, err := c.Admin.Token.Read(); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	write(t, path, "\n")
	if _, err := c.Admin.Token.Read(); err == nil {
		t.Error("took an empty file for a secret")
	}
	write(t, path, "CHANGE-ME\n")
	if _, err := c.Admin.Token.Read(); !errors.Is(err, ErrPlaceholder) {
		t.Errorf("placeholder: got %v", err)
	}
}

func TestSecretFormsReplaceEachOther(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, smallest+"admin: {token_file: /x}\n", []string{"CDC_RELAY_ADMIN_TOKEN=abc"})
	if got, err := c.Admin.Token.Read(); got != "abc" || err != nil {
		t.Errorf("inline over file: got %q, %v", got, err)
	}
	c = mustLoad(t, smallest+"admin: {token: abc}\n", nil, "admin.token_file=/x")
	if got, want := c.Admin.Token.File(), "/x"; got != want {
		t.Errorf("file over inline: got %q, want %q", got, want)
	}
}

func TestConnString(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	write(t, path, `p'a\s@s w&rd`+"\n")
	for _, url := range []string{"postgres://relay:old@db:5433/app?sslmode=disable", "host=db port=5433 user=relay password=old dbname=app sslmode=disable"} {
		dsn, err := Database{URL: NewURL(url), Password: NewSecretFile(path)}.ConnString()
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Password != `p'a\s@s w&rd` || cfg.User != "relay" || cfg.Host != "db" || cfg.Port != 5433 || cfg.Database != "app" {
			t.Errorf("%s: got user %s, host %s, port %d, database %s, password right: %v", url, cfg.User, cfg.Host, cfg.Port, cfg.Database, cfg.Password == `p'a\s@s w&rd`)
		}
	}
	if dsn, err := (Database{}).ConnString(); dsn != "" || err != nil {
		t.Errorf("nothing set: got %q, %v", dsn, err)
	}
}

func TestMaskURL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ dsn, want string }{
		{"postgres://u:p@h/d", "postgres://u:***@h/d"},
		{"postgres://u@h/d", "postgres://u@h/d"},
		{"postgres://h/d?password=p&sslmode=require", "postgres://h/d?password=***&sslmode=require"},
		{"host=h password=p user=u", "host=h password=*** user=u"},
		{`host=h password='p \' q' user=u`, "host=h password=*** user=u"},
		{"host=h sslpassword = p", "host=h sslpassword=***"},
		{"postgres://u:%zz@h", "***"},
	} {
		if got := MaskURL(c.dsn); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestMigrateDatabase(t *testing.T) {
	t.Parallel()
	c := Config{Database: Database{URL: NewURL("postgres://relay@db/app"), Password: NewSecret("a")}}
	if dsn, _ := c.MigrateDatabase().ConnString(); dsn != "postgres://relay:a@db/app" {
		t.Errorf("without migrate.url: got %s", dsn)
	}
	c.Migrate.URL = NewURL("postgres://owner@db/app")
	if dsn, _ := c.MigrateDatabase().ConnString(); dsn != "postgres://owner@db/app" {
		t.Errorf("with migrate.url: got %s", dsn)
	}
}
