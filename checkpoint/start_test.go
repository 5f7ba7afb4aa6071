package checkpoint

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	server := Server{SystemID: "7", Timeline: 1, WALEnd: 1000}
	mark := func(change func(*Mark)) *Mark {
		m := &Mark{SystemID: "7", Timeline: 1, LSN: 500}
		if change != nil {
			change(m)
		}
		return m
	}
	for _, c := range []struct {
		name   string
		slot   *Slot
		mark   *Mark
		action Action
		from   pglogrepl.LSN
		err    string
	}{
		{"first start", nil, nil, FirstStart, 0, ""},
		{"a crash between intent and slot", nil, mark(func(m *Mark) { m.Creating = true }), FirstStart, 0, ""},
		{"a crash between slot and mark", &Slot{Confirmed: 400}, mark(func(m *Mark) { m.Creating = true; m.LSN = 0 }), TakeUp, 400, ""},
		{"somebody is making it", &Slot{Confirmed: 400, ActivePID: 9}, mark(func(m *Mark) { m.Creating = true }), StandBy, 0, ""},
		{"I5: the slot forgot, the mark knows", &Slot{Confirmed: 300}, mark(nil), Stream, 500, ""},
		{"equal", &Slot{Confirmed: 500}, mark(nil), Stream, 500, ""},
		{"after a promotion", &Slot{Confirmed: 500}, mark(func(m *Mark) { m.Timeline = 1 }), Stream, 500, ""},
		{"taken", &Slot{Confirmed: 500, ActivePID: 9}, mark(nil), StandBy, 0, ""},
		{"slot without mark", &Slot{Confirmed: 500}, nil, StandBy, 0, "has no mark"},
		{"slot missing", nil, mark(nil), StandBy, 0, "is missing"},
		{"slot lost", &Slot{Confirmed: 500, Lost: "wal_removed"}, mark(nil), StandBy, 0, "is lost: wal_removed"},
		{"I1: advanced by hand or made anew", &Slot{Confirmed: 501}, mark(nil), StandBy, 0, "ahead of its mark"},
		{"restored from a backup", &Slot{Confirmed: 500}, mark(func(m *Mark) { m.LSN = 1001 }), StandBy, 0, "beyond the server's WAL end"},
		{"older timeline", &Slot{Confirmed: 500}, mark(func(m *Mark) { m.Timeline = 2 }), StandBy, 0, "timeline 2"},
		{"another server", &Slot{Confirmed: 500}, mark(func(m *Mark) { m.SystemID = "8" }), StandBy, 0, "system identifier 8"},
	} {
		action, from, err := Decide("s", server, c.slot, c.mark)
		var unusable *UnusableError
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (!errors.As(err, &unusable) || !strings.Contains(err.Error(), c.err) || unusable.Cure == ""):
			t.Errorf("%s: got error %v, want one that says %q and names a cure", c.name, err, c.err)
		case c.err == "" && (action != c.action || from != c.from):
			t.Errorf("%s: got %d from %s, want %d from %s", c.name, action, from, c.action, c.from)
		}
	}
}
