package replication_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/replication"
)

func TestStop_SendsTheLastStatus(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		txn := srv.Commit(outboxRows(3, "{}")...)
		kinds(t, s)
		srv.Commit(outboxRows(5000, strings.Repeat("x", 1000))...) // 5 MB that nobody wants any more
		s.Confirm(txn.End)
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		slot, _ := srv.Slot("cdc_relay")
		if slot.Confirmed != txn.End {
			t.Errorf("slot confirmed %s, want %s", slot.Confirmed, txn.End)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, replication.ErrStopped) {
			t.Errorf("Next after Stop: %v", err)
		}
	})
}

func TestStop_Bounded(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		srv.Freeze()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		if err := s.Stop(ctx); err == nil || time.Since(begin) > 3*time.Second {
			t.Errorf("got %v after %s, want an error within 3 s", err, time.Since(begin))
		}
	})
}

func TestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{Password: "geheim", Version: "15.19 (Debian 15.19-1)"})
		defer srv.Close()
		conn, err := replication.Connect(t.Context(), config(srv))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if got, want := conn.System(), (replication.System{ID: srv.SystemID(), Timeline: 1, WALEnd: srv.WALEnd(), Database: "app", Version: 150019}); got != want {
			t.Errorf("system %+v, want %+v", got, want)
		}
		if _, err := conn.Start(t.Context(), 0); !errors.Is(err, replication.ErrZeroLSN) {
			t.Errorf("Start(0): %v", err)
		}
		if _, err := conn.Start(t.Context(), srv.WALEnd()+8); !errors.Is(err, replication.ErrBeyondWAL) || replication.Class(err).Action != replication.SlotUnusable {
			t.Errorf("Start beyond the WAL: %v", err)
		}
		_, err = conn.Start(t.Context(), srv.WALEnd())
		if d := replication.Class(err); d.Action != replication.SlotUnusable {
			t.Errorf("Start without a slot: %v, %+v", err, d)
		}
		// The connection is still good: make the slot, take it, and try again while another has it.
		point, err := conn.CreateSlot(t.Context(), "cdc_relay", false)
		if err != nil || point != srv.WALEnd() {
			t.Fatalf("CreateSlot: %s, %v", point, err)
		}
		owner := start(t, srv, point)
		_, err = conn.Start(t.Context(), point)
		slot, _ := srv.Slot("cdc_relay")
		if d := replication.Class(err); d.Action != replication.Standby || d.Owner != slot.ActivePID {
			t.Errorf("Start on a taken slot: %v, %+v, want stand by, owner %d", err, d, slot.ActivePID)
		}
		if err := owner.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := conn.Start(t.Context(), point)
		if err != nil {
			t.Fatal(err)
		}
		srv.Commit(outboxRows(1, "{}")...)
		if got, want := kinds(t, s), "BRIC"; got != want {
			t.Errorf("messages %q, want %q", got, want)
		}
		if _, err := conn.Start(t.Context(), point); !errors.Is(err, replication.ErrStreaming) {
			t.Errorf("second Start: %v", err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStart_ResumesAtTheLarger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		slot := srv.CreateSlot("cdc_relay")
		var ends []walsender.Txn
		for range 5 {
			ends = append(ends, srv.Commit(outboxRows(1, "{}")...))
		}
		count := func(from pglogrepl.LSN) int {
			s := start(t, srv, from)
			n := strings.Count(kinds(t, s), "C")
			s.Confirm(ends[2].End)
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			return n
		}
		if n := count(slot.Confirmed); n != 5 {
			t.Errorf("from the slot's beginning: %d transactions, want 5", n)
		}
		if n := count(slot.Confirmed); n != 2 {
			t.Errorf("behind the slot: %d, want the 2 that it has not confirmed", n)
		}
		srv.Crash()
		if n := count(ends[0].Commit); n != 5 {
			t.Errorf("after a crash, from the first commit LSN: %d, want 5 (a commit LSN sends that commit again)", n)
		}
		srv.Crash()
		if n := count(ends[3].End); n != 1 {
			t.Errorf("after a crash, from the fourth end LSN: %d, want 1", n)
		}
	})
}

func TestCreateSlot_WaitsNotForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		srv.HoldSlots(true)
		conn, err := replication.Connect(t.Context(), config(srv))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err = conn.CreateSlot(ctx, "cdc_relay", true)
		if !errors.Is(err, replication.ErrSlotWaits) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, replication.ErrSlotWaits)
		}
		srv.HoldSlots(false)
		if _, err := conn.CreateSlot(t.Context(), "cdc_relay", true); err != nil {
			t.Errorf("the connection is not usable after that: %v", err)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := replication.NewConfig(func(context.Context) (*pgconn.Config, error) { return nil, nil }, "a_1", "p")
	if err := good.Validate(); err != nil {
		t.Errorf("got %v", err)
	}
	for i, spoil := range []func(*replication.Config){
		func(c *replication.Config) { c.Slot = "Bad" },
		func(c *replication.Config) { c.Slot = "a; DROP" },
		func(c *replication.Config) { c.Slot = strings.Repeat("a", 64) },
		func(c *replication.Config) { c.Publication = "" },
		func(c *replication.Config) { c.StatusInterval = 0 },
		func(c *replication.Config) { c.WALSenderTimeout = time.Second },
		func(c *replication.Config) { c.Conn = nil },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("case %d passed", i)
		}
	}
	both := replication.Config{}
	if err := both.Validate(); strings.Count(fmt.Sprint(err), "\n") < 4 {
		t.Errorf("want all mistakes at once, got %v", err)
	}
}

// The owner stood still, as under SIGSTOP: what lies in its socket may be another owner's by now.
func TestFrozenOwnerReadsNothingMore(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *walsender.Server, s *replication.Stream) {
		next(t, s)
		<-time.After(11 * time.Second) // of the bubble
		if m, err := s.Next(t.Context()); !errors.Is(err, replication.ErrFrozen) {
			t.Errorf("got %v, %v, want %v", m, err, replication.ErrFrozen)
		}
		if d := replication.Class(replication.ErrFrozen); d.Action != replication.Retry {
			t.Errorf("got %v, want %v", d.Action, replication.Retry)
		}
	})
}
