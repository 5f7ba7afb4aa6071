package checkpoint

import (
	"fmt"

	"github.com/jackc/pglogrepl"
)

// Slot is what pg_replication_slots says, as far as a start depends on it.
type Slot struct {
	Confirmed pglogrepl.LSN // confirmed_flush_lsn
	ActivePID int32         // the walsender that holds it, 0: none
	Lost      string        // why it can no longer be read, "": it can
}

// Server is where the slot lives.
type Server struct {
	SystemID string
	Timeline int32
	WALEnd   pglogrepl.LSN
}

// Action is what a start has to do.
type Action uint8

const (
	// Stream from the position that Decide returns.
	Stream Action = iota
	// StandBy: somebody holds the slot, or is making it.
	StandBy
	// FirstStart: neither slot nor mark. Claim, write the intent, make the slot, complete the mark.
	FirstStart
	// TakeUp: an intent and a slot, and nobody has streamed: claim, then complete the mark with the slot's position.
	TakeUp
)

// UnusableError says that slot and mark contradict each other: going on would lose or repeat events in silence. Only an
// operator can decide.
type UnusableError struct {
	Slot string
	What string
	Cure string
}

func (e *UnusableError) Error() string { return fmt.Sprintf("slot %q %s; %s", e.Slot, e.What, e.Cure) }

// Decide compares the server, the slot (nil: none) and its mark (nil: none), in that order of reading: a healthy owner
// confirms in between, and the mark is written first, so a slot ahead of the mark was moved or made by somebody else.
func Decide(name string, server Server, slot *Slot, mark *Mark) (Action, pglogrepl.LSN, error) {
	unusable := func(cure, what string, args ...any) (Action, pglogrepl.LSN, error) {
		return StandBy, 0, &UnusableError{Slot: name, What: fmt.Sprintf(what, args...), Cure: cure}
	}
	repair := fmt.Sprintf("rows committed after the mark may be unpublished: find them in the outbox, then `cdc-relay slot create %s` and `cdc-relay slot adopt %s --new-incarnation` go on from now", name, name)
	anew := fmt.Sprintf("if its position is right for this relay, `cdc-relay slot adopt %s --new-incarnation` makes the mark from it", name)
	adopt := fmt.Sprintf("if its position is right for this relay, `cdc-relay slot adopt %s` makes the mark from it", name)

	switch {
	case slot == nil && mark == nil, slot == nil && mark.Creating:
		return FirstStart, 0, nil
	case mark == nil:
		return unusable(adopt, "exists at %s, but has no mark in cdc_relay.checkpoint: it was made by somebody else, or the schema was made anew", slot.Confirmed)
	case slot != nil && slot.Lost != "":
		return unusable(fmt.Sprintf("drop it with `cdc-relay slot drop %s`; ", name)+repair, "is lost: %s; the mark stands at %s", slot.Lost, mark.LSN)
	case mark.SystemID != server.SystemID:
		return unusable("point database.url at the right server; for a copy of the database, "+anew, "has a mark of the server with system identifier %s, and this one is %s", mark.SystemID, server.SystemID)
	case slot == nil:
		return unusable(repair, "is missing, and its mark stands at %s: it was dropped, or the server was restored or failed over without it", mark.LSN)
	case slot.ActivePID != 0:
		return StandBy, 0, nil
	case mark.Creating:
		return TakeUp, slot.Confirmed, nil
	case server.Timeline < mark.Timeline:
		return unusable("the server was restored from a backup; "+anew, "has a mark of timeline %d, and the server is on %d", mark.Timeline, server.Timeline)
	case mark.LSN > server.WALEnd:
		return unusable("the server was restored from a backup; "+anew, "has its mark at %s, beyond the server's WAL end at %s", mark.LSN, server.WALEnd)
	case slot.Confirmed > mark.LSN:
		return unusable(adopt+" (rows between the two may be unpublished)", "stands at %s, ahead of its mark at %s: somebody advanced it or made it anew", slot.Confirmed, mark.LSN)
	}
	return Stream, mark.LSN, nil
}
