package outbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The order check, proved on a model: Postgres, the relay and optimistic senders as they interleave, one step at a time. What
// is modelled is what migrations/sql/009_order.sql relies on and nothing else:
//
//	a transaction  takes an xid, takes its key's lock (shared), inserts, writes its commit record, becomes visible, gives the
//	               lock up, and returns to its caller, each as a step of its own and some of them very late
//	the relay      publishes in the order of the WAL; is acknowledged later; samples pairs of horizon and LSN; writes the mark;
//	               dies and begins again at the mark
//	a sender       asks (lock, mark, rows: three steps), and its copy arrives at some time after it was sent, or never
//
// Two transactions of a key may run side by side: nothing in the model keeps them apart. After each run, the first sight of each
// event in the log must be in the order of commits, key by key.
type world struct {
	rng   *rand.Rand
	guard guard

	xids    int           // given out
	running map[int]bool  // in progress, as snapshots see it
	latest  int           // the newest xid that has ended
	locks   map[int]int   // key: transactions that hold it
	wal     []*modelTx    // commit records; an LSN is an index + 1
	rows    []*modelTx    // inserted; visible once its transaction is not running
	log     []*modelTx    // the destination
	senders []func() bool // each runs one step, true: it has ended

	sent, acked, marked int // of the WAL: published, acknowledged, at or below the mark
	pairs               []pair
	half                *pair // a sample between its two steps
	lazy                int   // how slowly it publishes just now
	horizon             int   // the mark's

	keys  int
	first map[*modelTx]bool // in the log
	lead  int               // first sights that were optimistic copies
}

type pair struct{ xid, lsn int }

type modelTx struct {
	key, xid, lsn int
	step          int
	slow          bool // it lingers before it becomes visible, as behind a synchronous standby
}

// guard is a part of the check that the test takes away, to see that it is needed.
type guard int

const (
	whole           guard = iota
	noLock                // go by the rows alone
	rowsBeforeLock        // one snapshot, taken before the lock is tried
	rowsBeforeMark        // fine: only more may be found outstanding... and a mark that is newer than the rows
	lsnBeforeXID          // the sample's two steps the other way round
	markOfSent            // a mark that holds what is not acknowledged
	lockAfterCommit       // the writer's lock comes too late
)

func (w *world) xmin() int {
	low := w.latest + 1
	for x := range w.running {
		low = min(low, x)
	}
	return low
}

func (w *world) visible() []*modelTx {
	var seen []*modelTx
	for _, tx := range w.rows {
		if !w.running[tx.xid] {
			seen = append(seen, tx)
		}
	}
	return seen
}

// advance takes a transaction one step on; true: it has ended.
func (w *world) advance(tx *modelTx) bool {
	late := w.guard == lockAfterCommit
	if tx.slow && tx.step == 3 && w.rng.IntN(30) > 0 {
		return false
	}
	switch tx.step {
	case 0:
		w.xids++
		tx.xid = w.xids
		w.running[tx.xid] = true
	case 1:
		if !late {
			w.locks[tx.key]++
		}
		w.rows = append(w.rows, tx)
	case 2:
		w.wal = append(w.wal, tx)
		tx.lsn = len(w.wal)
	case 3:
		if late {
			w.locks[tx.key]++
		}
		delete(w.running, tx.xid)
		w.latest = max(w.latest, tx.xid)
	case 4:
		w.locks[tx.key]--
	case 5:
		w.senders = append(w.senders, w.sender(tx))
		return true
	}
	tx.step++
	return false
}

// sender asks for a transaction's event, and sends it.
func (w *world) sender(tx *modelTx) func() bool {
	step, horizon := 0, 0
	var rows []*modelTx
	lock := func() bool { return w.guard == noLock || w.locks[tx.key] == 0 }
	look := func() { rows = w.visible() }
	mark := func() { horizon = w.horizon }
	clear := func() bool {
		ours := false
		for _, r := range rows {
			if r.key == tx.key && r.xid >= horizon {
				if r != tx {
					return false
				}
				ours = true
			}
		}
		return ours
	}
	steps := []func(){mark, look}
	switch w.guard {
	case rowsBeforeMark:
		steps = []func(){look, mark}
	case rowsBeforeLock:
		look()
		steps = []func(){mark}
	}
	return func() bool {
		step++
		switch {
		case step == 1:
			return !lock()
		case step-2 < len(steps):
			steps[step-2]()
			return false
		case step-2 == len(steps):
			return !clear() || w.rng.IntN(20) == 0 // the copy is lost
		case w.rng.IntN(4) > 0:
			return false // on its way
		}
		w.arrive(tx, true)
		return true
	}
}

func (w *world) arrive(tx *modelTx, optimistic bool) {
	w.log = append(w.log, tx)
	if !w.first[tx] {
		w.first[tx] = true
		if optimistic {
			w.lead++
		}
	}
}

// relay takes one of the relay's steps.
func (w *world) relay() {
	switch n := w.rng.IntN(12); {
	case n < 3:
		if w.rng.IntN(40) == 0 {
			w.lazy = w.rng.IntN(12)
		}
		if w.sent < len(w.wal) && w.rng.IntN(w.lazy+1) == 0 {
			w.arrive(w.wal[w.sent], false)
			w.sent++
		}
	case n < 6:
		w.acked = w.acked + w.rng.IntN(w.sent-w.acked+1)
	case n < 9 && w.half == nil:
		w.half = &pair{xid: w.xmin(), lsn: len(w.wal)}
	case n < 9:
		if w.guard == lsnBeforeXID {
			w.half.xid = w.xmin()
		} else {
			w.half.lsn = len(w.wal)
		}
		w.pairs, w.half = append(w.pairs, *w.half), nil
	case n < 11:
		to := w.acked
		if w.guard == markOfSent {
			to = len(w.wal)
		}
		w.marked = max(w.marked, to)
		for _, p := range w.pairs {
			if p.lsn <= w.marked {
				w.horizon = max(w.horizon, p.xid)
			}
		}
	default:
		if w.rng.IntN(10) == 0 && w.guard != markOfSent {
			w.sent, w.acked = w.marked, w.marked
		}
	}
}

// run plays one schedule and returns what is out of order, "" if nothing is.
func (w *world) run(steps int) string {
	var open []*modelTx
	for range steps {
		switch n := w.rng.IntN(10); {
		case n < 1 && len(open) < 5:
			open = append(open, &modelTx{key: w.rng.IntN(w.keys), slow: w.rng.IntN(8) == 0})
		case n < 5 && len(open) > 0:
			at := w.rng.IntN(len(open))
			if w.advance(open[at]) {
				open = slices.Delete(open, at, at+1)
			}
		case n < 7 && len(w.senders) > 0:
			at := w.rng.IntN(len(w.senders))
			if w.senders[at]() {
				w.senders = slices.Delete(w.senders, at, at+1)
			}
		default:
			w.relay()
		}
	}
	seen, last := map[*modelTx]bool{}, map[int]*modelTx{}
	for _, tx := range w.log {
		if seen[tx] {
			continue
		}
		seen[tx] = true
		if before := last[tx.key]; before != nil && before.lsn > tx.lsn {
			return fmt.Sprintf("key %d: the event committed at %d (xid %d) came after that of %d (xid %d)", tx.key, tx.lsn, tx.xid, before.lsn, before.xid)
		}
		last[tx.key] = tx
	}
	// First sights came in order, so a hole is an event that was overtaken and has not come at all.
	for key, newest := range last {
		for _, tx := range w.wal[:newest.lsn] {
			if tx.key == key && !seen[tx] {
				return fmt.Sprintf("key %d: the event committed at %d (xid %d) was overtaken by that of %d", key, tx.lsn, tx.xid, newest.lsn)
			}
		}
	}
	return ""
}

func play(seed uint64, g guard) (*world, string) {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 8)), guard: g, running: map[int]bool{}, locks: map[int]int{}, first: map[*modelTx]bool{},
		keys: 2 + int(seed%12),
	}
	return w, w.run(1000)
}

// I2 with optimistic copies under the order check; and each part of the check is needed.
func TestI2_OrderCheckInTheModel(t *testing.T) {
	t.Parallel()
	const seeds = 1500
	for name, c := range map[string]struct {
		guard guard
		sound bool
	}{
		"whole":                            {whole, true},
		"without the lock":                 {noLock, false},
		"rows looked at before the lock":   {rowsBeforeLock, false},
		"rows looked at before the mark":   {rowsBeforeMark, true},
		"horizon sampled after its LSN":    {lsnBeforeXID, false},
		"a mark that is not acknowledged":  {markOfSent, false},
		"a writer's lock after its commit": {lockAfterCommit, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lead, events, broken := 0, 0, ""
			for seed := uint64(1); seed <= seeds && broken == ""; seed++ {
				w, wrong := play(seed, c.guard)
				lead, events = lead+w.lead, events+len(w.first)
				if wrong != "" {
					broken = fmt.Sprintf("seed %d: %s", seed, wrong)
				}
			}
			switch {
			case c.sound && broken != "":
				t.Fatal(broken)
			case !c.sound && broken == "":
				t.Fatalf("%d schedules show no harm: the model does not see what this part is for", seeds)
			case c.sound && lead < events/40:
				t.Fatalf("only %d of %d events came first by their optimistic copy: the schedules prove little", lead, events)
			}
			t.Logf("%d of %d events came first by their optimistic copy; %s", lead, events, broken)
		})
	}
}
