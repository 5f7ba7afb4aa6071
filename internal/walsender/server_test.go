package walsender_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/internal/walsender"
)

// client is pglogrepl: what the server sends has to make sense to somebody else's client.
func client(t *testing.T, srv *walsender.Server, from pglogrepl.LSN) *pgconn.PgConn {
	t.Helper()
	cfg, err := srv.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["wal_sender_timeout"] = "10000"
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := pglogrepl.StartReplication(t.Context(), conn, "s", from, pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'"}}); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestSpeaksToPglogrepl(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		slot := srv.CreateSlot("s")
		rel := walsender.Outbox()
		txn := srv.Commit(walsender.OutboxRow(rel, 1, "k", `{"a":1}`), walsender.Row{Relation: rel, Values: []any{"x", nil, walsender.Unchanged{}}})
		conn := client(t, srv, slot.Confirmed)
		var kinds []pglogrepl.MessageType
		for len(kinds) < 5 {
			msg, err := conn.ReceiveMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			data := msg.(*pgproto3.CopyData).Data
			if data[0] != pglogrepl.XLogDataByteID {
				continue
			}
			x, err := pglogrepl.ParseXLogData(data[1:])
			if err != nil {
				t.Fatal(err)
			}
			m, err := pglogrepl.Parse(x.WALData)
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pglogrepl.BeginMessage:
				if m.FinalLSN != txn.Commit || m.Xid != txn.XID {
					t.Errorf("begin %+v, want %+v", m, txn)
				}
			case *pglogrepl.RelationMessage:
				if m.RelationName != "outbox" || len(m.Columns) != len(rel.Columns) {
					t.Errorf("relation %+v", m)
				}
			case *pglogrepl.CommitMessage:
				if m.CommitLSN != txn.Commit || m.TransactionEndLSN != txn.End {
					t.Errorf("commit %+v, want %+v", m, txn)
				}
			}
			kinds = append(kinds, m.Type())
		}
		want := []pglogrepl.MessageType{'B', 'R', 'I', 'I', 'C'}
		if string(kindBytes(kinds)) != string(kindBytes(want)) {
			t.Errorf("messages %v, want %v", kinds, want)
		}
		// Nobody answers: the keepalive that asks after 5 s, the end after 10.
		begin := time.Now()
		for {
			msg, err := conn.ReceiveMessage(t.Context())
			if err != nil {
				break
			}
			if k := msg.(*pgproto3.CopyData).Data; k[0] == 'k' && k[17] == 1 && time.Since(begin) != 5*time.Second {
				t.Errorf("asked after %s, want 5 s", time.Since(begin))
			}
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("gave up after %s, want wal_sender_timeout, 10 s", took)
		}
		_ = conn.Close(t.Context())
		if err := srv.Await(t.Context(), func() bool { s, _ := srv.Slot("s"); return s.ActivePID == 0 }); err != nil {
			t.Error(err)
		}
	})
}

func kindBytes(kinds []pglogrepl.MessageType) []byte {
	var b []byte
	for _, k := range kinds {
		b = append(b, byte(k))
	}
	return b
}

func TestCrashForgetsBackToTheCheckpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := walsender.New(walsender.Config{})
		defer srv.Close()
		slot := srv.CreateSlot("s")
		conn := client(t, srv, slot.Confirmed)
		confirm := func(lsn pglogrepl.LSN) {
			b := []byte{'r'}
			for range 3 {
				b = binary.BigEndian.AppendUint64(b, uint64(lsn))
			}
			conn.Frontend().Send(&pgproto3.CopyData{Data: append(b, make([]byte, 9)...)})
			if err := conn.Frontend().Flush(); err != nil {
				t.Fatal(err)
			}
			if err := srv.AwaitConfirmed(t.Context(), "s", lsn); err != nil {
				t.Fatal(err)
			}
		}
		first, second := srv.AdvanceWAL(100), srv.AdvanceWAL(100)
		go func() { // the pipe has no buffer: somebody has to read the keepalives
			for {
				if _, err := conn.ReceiveMessage(context.WithoutCancel(t.Context())); err != nil {
					return
				}
			}
		}()
		confirm(first)
		srv.Checkpoint()
		confirm(second)
		if s, _ := srv.Slot("s"); s.Confirmed != second || s.Persisted != first {
			t.Errorf("slot %+v, want confirmed %s and persisted %s", s, second, first)
		}
		srv.Crash()
		if s, _ := srv.Slot("s"); s.Confirmed != first || s.ActivePID != 0 {
			t.Errorf("after the crash %+v, want %s and nobody", s, first)
		}
		srv.Down(true)
		cfg, _ := srv.Conn(t.Context())
		if _, err := pgconn.ConnectConfig(t.Context(), cfg); err == nil {
			t.Error("connected to a server that is down")
		}
		srv.Down(false)
		srv.FailNext("CONNECT", &pgconn.PgError{Severity: "FATAL", Code: "57P03", Message: "the database system is starting up"})
		var pg *pgconn.PgError
		if _, err := pgconn.ConnectConfig(t.Context(), cfg); !errors.As(err, &pg) || pg.Code != "57P03" {
			t.Errorf("got %v, want 57P03", err)
		}
	})
}
