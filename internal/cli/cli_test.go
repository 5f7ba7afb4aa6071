package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/config"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	cause := errors.New("x")
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, OK},
		{cause, Usage}, // from cobra, before a verb ran
		{Exit(Failed, cause), Failed},
		{fmt.Errorf("around: %w", Exit(SlotUnusable, cause)), SlotUnusable},
		{Exit(Failed, fmt.Errorf("around: %w", Exit(Precondition, cause))), Precondition}, // the inner one knows better
		{errors.Join(Exit(StoppedOnEvent, cause), cause), StoppedOnEvent},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
	if Exit(Failed, nil) != nil {
		t.Error("no error became one")
	}
	if !errors.Is(Exit(Failed, cause), cause) {
		t.Error("the cause is lost")
	}
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c.Code] {
			t.Errorf("%d is documented twice", c.Code)
		}
		seen[c.Code] = true
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	p := &Program{In: strings.NewReader("orders\n"), Err: &bytes.Buffer{}}
	if err := p.Confirm("orders", "dropping it", "orders"); err != nil {
		t.Errorf("right name: %v", err)
	}
	for _, yes := range []string{"", "order", "Orders"} { // nobody is asked on a pipe
		if err := p.Confirm(yes, "dropping it", "orders"); CodeOf(err) != Usage || err == nil {
			t.Errorf("--yes %q: got %v", yes, err)
		}
	}
}

func TestNoColourWithoutTerminal(t *testing.T) {
	t.Parallel()
	var words bytes.Buffer
	p := &Program{Err: &words}
	p.Report(nil, Exit(Failed, errors.New("it broke")))
	if got, want := words.String(), "error: it broke\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPgConfigReadsAgain(t *testing.T) {
	t.Parallel()
	read := PgConfig(config.Database{URL: config.NewURL("postgres://relay@db/app?connect_timeout=3"), Password: config.NewSecretFile("/does/not/exist")})
	if _, err := read(t.Context()); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v", err)
	}
	c, err := PgConfig(config.Database{URL: config.NewURL("postgres://relay:pw@db/app?connect_timeout=3")})(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "relay" || c.Password != "pw" || c.ConnectTimeout.Seconds() != 3 {
		t.Errorf("got %s, %v", c.User, c.ConnectTimeout)
	}
	_, err = PgConfig(config.Database{URL: config.NewURL("postgres://relay:hunter2@db:port/app")})(t.Context())
	if CodeOf(err) != Invalid || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
