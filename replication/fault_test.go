package replication_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/replication"
)

func TestServerErrorInMidStream(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		srv.Fail("cdc_relay", &pgconn.PgError{Code: "42704", Message: `publication "cdc_relay" does not exist`, Routine: "get_publication_oid"})
		_, err := s.Next(t.Context())
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42704" || !strings.Contains(err.Error(), `slot "cdc_relay"`) {
			t.Fatalf("got %v, want the server's error with the slot's name", err)
		}
		if d := replication.Class(err); d.Action != replication.SlotUnusable || !strings.Contains(d.Cure, "publication") {
			t.Errorf("got %+v", d)
		}
		if _, again := s.Next(t.Context()); !errors.Is(again, err) {
			t.Errorf("the second Next: %v, want the same", again)
		}
	})
}

func TestI7_SkippedPublicationStops(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		srv.Notice("cdc_relay", &pgconn.PgError{Severity: "NOTICE", Code: "00000", Message: "hello"})
		srv.Notice("cdc_relay", &pgconn.PgError{Severity: "WARNING", Code: "55000", Message: "bla", Routine: "LoadPublications"})
		if _, err := s.Next(t.Context()); !errors.Is(err, replication.ErrPublicationSkipped) {
			t.Errorf("got %v, want %v", err, replication.ErrPublicationSkipped)
		}
	})
}

func TestI7_ProtocolViolationStops(t *testing.T) {
	for name, raw := range map[string]string{
		"unknown message":  "?\x00\x00\x00\x04",
		"unknown CopyData": "d\x00\x00\x00\x05x",
		"empty CopyData":   "d\x00\x00\x00\x04",
		"short XLogData":   "d\x00\x00\x00\x06w1",
		"long keepalive":   "d\x00\x00\x00\x17k" + strings.Repeat("\x00", 18),
		"no length":        "d\x00\x00\x00\x00",
		"endless":          "d\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
				next(t, s)
				srv.Raw("cdc_relay", []byte(raw))
				if _, err := s.Next(t.Context()); !errors.Is(err, replication.ErrProtocol) {
					t.Errorf("got %v, want %v", err, replication.ErrProtocol)
				}
			})
		})
	}
}

func TestConnectionLost(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		srv.Cut()
		_, err := s.Next(t.Context())
		if !errors.Is(err, replication.ErrLost) || replication.Class(err).Action != replication.Retry {
			t.Errorf("got %v (%v), want %v and a retry", err, replication.Class(err).Action, replication.ErrLost)
		}
	})
}

func TestServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		cfg := config(srv)
		cfg.WALSenderTimeout = time.Minute
		s := startWith(t, cfg, srv.CreateSlot("cdc_relay").Confirmed)
		next(t, s)
		srv.NotReading(true)
		begin := time.Now()
		var err error
		for err == nil {
			err = s.Wait(t.Context(), nil)
		}
		if !errors.Is(err, replication.ErrNotReading) || time.Since(begin) > 12*time.Second {
			t.Errorf("got %v after %s, want %v", err, time.Since(begin), replication.ErrNotReading)
		}
	})
}

func TestServerThatNeverAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		srv.Mute(true)
		begin := time.Now()
		var err error
		for err == nil {
			_, err = s.Next(t.Context())
		}
		if !errors.Is(err, replication.ErrSilent) || time.Since(begin).Round(10*time.Second) != time.Minute {
			t.Errorf("got %v after %s, want %v after a minute", err, time.Since(begin), replication.ErrSilent)
		}
		if replication.Class(err).Action != replication.Retry {
			t.Errorf("got %+v, want a retry", replication.Class(err))
		}
	})
}

func TestSilentServer(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		begin := time.Now()
		for time.Since(begin) < 5*time.Minute { // idle, but it answers when asked
			next(t, s)
		}
		asked := 0
		for _, st := range srv.Statuses() {
			if st.ReplyRequested {
				asked++
			}
		}
		if asked < 5 || asked > 11 {
			t.Errorf("asked for %d answers in 5 min, want one in 30 s", asked)
		}
	})
}
