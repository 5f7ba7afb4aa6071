package replication_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv"
	"github.com/cdc-relay/cdc-relay/replication"
)

// ends runs f for the oldest and the newest Postgres, each with a server of its own.
func ends(t *testing.T, params map[string]string, f func(t *testing.T, srv *testenv.Server, b *bed)) {
	t.Helper()
	t.Parallel()
	for _, version := range []string{"14", "18"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := testenv.StartPostgres(t, version, params)
			f(t, srv, newBedIn(t, srv.Database(t), version))
		})
	}
}

func TestReal_CreateSlotWhileATransactionIsPrepared(t *testing.T) {
	ends(t, map[string]string{"max_prepared_transactions": "5"}, func(t *testing.T, _ *testenv.Server, b *bed) {
		b.pg.Exec(t, "BEGIN; INSERT INTO outbox (key) VALUES ('p'); PREPARE TRANSACTION 'p'")
		conn := b.connect(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := conn.CreateSlot(ctx, b.name, false)
		if d := replication.Class(err); !errors.Is(err, replication.ErrSlotWaits) || d.Action != replication.Stop {
			t.Errorf("got %v: %+v", err, d)
		}
		if _, err := replication.LookSlot(t.Context(), b.db, b.name); !errors.Is(err, replication.ErrSlotMissing) {
			t.Errorf("a slot was left behind: %v", err)
		}
		b.pg.Exec(t, "COMMIT PREPARED 'p'")
		if _, err := conn.CreateSlot(t.Context(), b.name, false); err != nil {
			t.Errorf("the connection is not usable after that: %v", err)
		}
	})
}

func TestReal_WALLevelReplica(t *testing.T) {
	ends(t, map[string]string{"wal_level": "replica"}, func(t *testing.T, _ *testenv.Server, b *bed) {
		_, err := b.connect(t).CreateSlot(t.Context(), b.name, false)
		if d := replication.Class(err); d.Action != replication.Stop || d.Cure == "" {
			t.Errorf("got %v: %+v, want stop with a cure", err, d)
		}
	})
}

func TestReal_SlotLost(t *testing.T) {
	params := map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}
	ends(t, params, func(t *testing.T, _ *testenv.Server, b *bed) {
		point := b.createSlot(t)
		for range 6 {
			b.pg.Exec(t, "INSERT INTO other SELECT 1, repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal()")
		}
		b.pg.Exec(t, "CHECKPOINT")
		if slot := b.slot(t); !slot.Lost() {
			t.Errorf("slot %+v, want it lost", slot)
		}
		_, err := b.connect(t).Start(t.Context(), point)
		if d := replication.Class(err); d.Action != replication.SlotUnusable || d.Cure == "" {
			t.Errorf("got %v: %+v, want slot unusable", err, d)
		}
	})
}

func TestReal_Restarts(t *testing.T) {
	ends(t, nil, func(t *testing.T, srv *testenv.Server, b *bed) {
		point := b.createSlot(t)
		fails := func(what string, s *replication.Stream) {
			t.Helper()
			var err error
			for err == nil {
				_, err = s.Next(t.Context())
			}
			if d := replication.Class(err); d.Action != replication.Retry {
				t.Errorf("%s: %v: %+v, want a retry", what, err, d)
			}
		}
		s := b.stream(t, point)
		b.insert(t, 1)
		first, _ := commits(t, s, 1)
		s.Confirm(first[0])
		if err := s.SendStatus(t.Context()); err != nil {
			t.Fatal(err)
		}
		srv.Kill9()
		fails("kill -9", s)
		srv.Start()
		b.db = b.pg.Conn(t)
		s = b.stream(t, first[0])
		b.insert(t, 2)
		if _, rows := commits(t, s, 1); rows != 2 {
			t.Errorf("after the crash, from our own position: %d rows, want the 2 new ones", rows)
		}
		_ = b.db.Close(t.Context())
	})
}

// An orderly shutdown of Postgres does not end before the client has confirmed what was sent. Until then the server asks for
// a reply with each keepalive: whoever holds back a position keeps the server from stopping.
func TestReal_ShutdownWaitsForTheLastPosition(t *testing.T) {
	ends(t, nil, func(t *testing.T, srv *testenv.Server, b *bed) {
		s := b.stream(t, b.createSlot(t))
		b.insert(t, 1)
		last, _ := commits(t, s, 1)
		_ = b.db.Close(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.Stop()
		}()
		begin := time.Now()
		asked := 0
		for {
			m, err := s.Next(t.Context())
			if errors.Is(err, replication.ErrEnded) {
				break
			}
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(begin), err)
			}
			if m.ReplyRequested {
				asked++
			}
			if time.Since(begin) > 2*time.Second {
				s.Confirm(max(last[0], s.Seen()))
				if err := s.SendStatus(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		<-done
		if took := time.Since(begin); asked == 0 || took < 2*time.Second {
			t.Errorf("the server stopped after %s and asked %d times: want it to wait for the position, and to ask", took, asked)
		}
	})
}
