package replication_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/replication"
)

// inBubble runs f in virtual time against a scripted walsender with one slot.
func inBubble(t *testing.T, f func(t *testing.T, srv *walsender.Server, s *replication.Stream)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		slot := srv.CreateSlot("cdc_relay")
		s := start(t, srv, slot.Confirmed)
		defer func() { _ = s.Stop(t.Context()) }()
		f(t, srv, s)
	})
}

func config(srv *walsender.Server) replication.Config {
	return replication.NewConfig(srv.Conn, "cdc_relay", "cdc_relay")
}

func start(t *testing.T, srv *walsender.Server, from pglogrepl.LSN) *replication.Stream {
	t.Helper()
	return startWith(t, config(srv), from)
}

func startWith(t *testing.T, cfg replication.Config, from pglogrepl.LSN) *replication.Stream {
	t.Helper()
	conn, err := replication.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Start(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func next(t *testing.T, s *replication.Stream) replication.Message {
	t.Helper()
	m, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// kinds reads until a Tick and returns the first letter of each message, k for keepalives.
func kinds(t *testing.T, s *replication.Stream) string {
	t.Helper()
	var b strings.Builder
	for {
		switch m := next(t, s); m.Kind {
		case replication.Tick:
			return b.String()
		case replication.Keepalive:
			b.WriteByte('k')
		case replication.XLog:
			b.WriteByte(m.Data[0])
		}
	}
}

func outboxRows(n int, payload string) []walsender.Row {
	rel := walsender.Outbox()
	rows := make([]walsender.Row, n)
	for i := range rows {
		rows[i] = walsender.OutboxRow(rel, i+1, "key", payload)
	}
	return rows
}

func TestNext_Transactions(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		txn := srv.Commit(outboxRows(2, `{}`)...)
		if got, want := kinds(t, s), "BRIIC"; got != want {
			t.Errorf("messages %q, want %q", got, want)
		}
		srv.AdvanceWAL(1000)
		m := next(t, s)
		if m.Kind != replication.Keepalive || m.ServerWALEnd <= txn.End {
			t.Errorf("got %+v, want a keepalive beyond %s", m, txn.End)
		}
		if age := time.Since(m.ServerTime); age < 0 || age > time.Second {
			t.Errorf("server time is %s old", age)
		}
	})
}

func TestI6_StatusWhileIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		begin := time.Now()
		for time.Since(begin) < 10*time.Second {
			next(t, s)
		}
		checkRhythm(t, srv, 10)
	})
}

// checkRhythm: at least n statuses, never more than a second apart (I6), never falling, never 0, the same in all fields.
func checkRhythm(t *testing.T, srv *walsender.Server, n int) {
	t.Helper()
	synctest.Wait()
	all := srv.Statuses()
	if len(all) < n {
		t.Errorf("%d statuses, want %d at least", len(all), n)
	}
	for i, st := range all {
		if st.Flush == 0 || st.Write != st.Flush || st.Apply != st.Flush {
			t.Errorf("status %d: write %s, flush %s, apply %s: want one position that is not 0", i, st.Write, st.Flush, st.Apply)
		}
		if i == 0 {
			continue
		}
		if gap := st.At.Sub(all[i-1].At); gap > time.Second {
			t.Errorf("status %d came %s after the one before", i, gap)
		}
		if st.Flush < all[i-1].Flush {
			t.Errorf("status %d fell from %s to %s", i, all[i-1].Flush, st.Flush)
		}
	}
}

func TestI6_StatusWhileNotReading(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		srv.Commit(outboxRows(1000, strings.Repeat("x", 1000))...)
		next(t, s)
		begin := time.Now()
		for time.Since(begin) < time.Minute { // six times wal_sender_timeout
			if err := s.Wait(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		checkRhythm(t, srv, 60)
		got := strings.ReplaceAll(kinds(t, s), "k", "")
		if want := "R" + strings.Repeat("I", 1000) + "C"; got != want {
			t.Errorf("after the wait: %d messages, want %d", len(got), len(want))
		}
	})
}

func TestI6_StatusInADenseStream(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		srv.Commit(outboxRows(3000, "x")...)
		for range 3000 { // 30 s of work on a stream that never pauses
			next(t, s)
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // virtual time
		}
		checkRhythm(t, srv, 30)
	})
}

func TestWait_Woken(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *walsender.Server, s *replication.Stream) {
		next(t, s) // the first status is out
		begin := time.Now()
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		if err := s.Wait(t.Context(), wake); err != nil || time.Since(begin) != 0 {
			t.Errorf("Wait with a wake at hand: %v after %s", err, time.Since(begin))
		}
		time.AfterFunc(300*time.Millisecond, s.Wake)
		if err := s.Wait(t.Context(), nil); err != nil || time.Since(begin) != 300*time.Millisecond {
			t.Errorf("Wait with Wake: %v after %s", err, time.Since(begin))
		}
		time.AfterFunc(300*time.Millisecond, s.Wake)
		if m := next(t, s); m.Kind != replication.Tick || time.Since(begin) != 600*time.Millisecond {
			t.Errorf("Next with Wake: %+v after %s", m, time.Since(begin))
		}
		if m := next(t, s); m.Kind != replication.Tick || time.Since(begin) != time.Second {
			t.Errorf("Next after Wake: %+v after %s, want the tick of the status", m, time.Since(begin))
		}
	})
}

func TestContextEndsNextAndTheStreamGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		why := errors.New("drain")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(why) })
		begin := time.Now()
		var err error
		for err == nil {
			_, err = s.Next(ctx)
		}
		if !errors.Is(err, why) || time.Since(begin) != 1500*time.Millisecond {
			t.Errorf("got %v after %s, want the cause after 1.5 s", err, time.Since(begin))
		}
		if err := s.Wait(ctx, nil); !errors.Is(err, why) {
			t.Errorf("Wait: got %v, want the cause", err)
		}
		srv.Commit(outboxRows(1, "{}")...)
		if got, want := kinds(t, s), "BRIC"; got != want {
			t.Errorf("after that: %q, want %q", got, want)
		}
	})
}

func TestKeepaliveIsAnsweredAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		next(t, s)
		time.AfterFunc(100*time.Millisecond, func() { srv.Keepalive("cdc_relay", true) })
		m := next(t, s)
		if m.Kind != replication.Keepalive || !m.ReplyRequested {
			t.Fatalf("got %+v, want a keepalive that asks", m)
		}
		synctest.Wait()
		all := srv.Statuses()
		if last := all[len(all)-1]; time.Since(last.At) != 0 {
			t.Errorf("the last status is %s old, want an answer at once", time.Since(last.At))
		}
	})
}

func TestI5_ConfirmNeverFalls(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		first := srv.Commit(outboxRows(1, "{}")...)
		second := srv.Commit(outboxRows(1, "{}")...)
		kinds(t, s)
		for _, lsn := range []pglogrepl.LSN{second.End, first.End, 0} {
			s.Confirm(lsn)
			if err := s.SendStatus(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		checkRhythm(t, srv, 4)
		if slot, _ := srv.Slot("cdc_relay"); slot.Confirmed != second.End {
			t.Errorf("slot confirmed %s, want %s", slot.Confirmed, second.End)
		}
	})
}

func TestI1_ConfirmBeyondTheServerPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		defer func() {
			if recover() == nil {
				t.Error("confirmed what the server has not sent")
			}
		}()
		s.Confirm(srv.WALEnd() + 1)
	})
}

func TestPartialMessageOverManyDeadlines(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		srv.Trickle(1000, 700*time.Millisecond)
		payload := strings.Repeat("y", 20_000) // 14 s on the wire
		srv.Commit(outboxRows(1, payload)...)
		var data string
		for data == "" {
			if m := next(t, s); m.Kind == replication.XLog && m.Data[0] == 'I' {
				data = string(m.Data)
			}
		}
		if !strings.Contains(data, payload) {
			t.Errorf("the row came without its payload: %d bytes", len(data))
		}
		checkRhythm(t, srv, 14)
	})
}

func TestLargeMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, srv *walsender.Server, s *replication.Stream) {
		for _, size := range []int{10, 300_000, 1_100_000, 10, 262_144, 5_000_000, 10} {
			payload := strings.Repeat("z", size)
			srv.Commit(outboxRows(2, payload)...)
			n := 0
			for range 6 {
				m := next(t, s)
				if m.Kind == replication.XLog && m.Data[0] == 'I' && strings.Contains(string(m.Data), payload) {
					n++
				}
				if m.Kind == replication.XLog && m.Data[0] == 'C' {
					break
				}
			}
			if n != 2 {
				t.Errorf("%d rows of %d bytes, want 2", n, size)
			}
		}
	})
}
