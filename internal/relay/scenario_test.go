package relay_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/rs/zerolog"

	"github.com/cdc-relay/cdc-relay/decoder"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sim"
	"github.com/cdc-relay/cdc-relay/internal/walsender"
	"github.com/cdc-relay/cdc-relay/sink/sinktest"
)

var update = flag.Bool("update", false, "write the recorded output of scenarios anew") //nolint:gochecknoglobals // go test's way

// TestScenarios plays testdata/*.txt. Each command is followed by what changed in the world because of it: states of relays,
// what the destination got by key, dead letters, the mark, the slot. LSNs are shown as names: t2 is the end of the second
// transaction, t2+1 is after the second insert of it while it is open.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios %v: %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			recorded, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var played []byte
			synctest.Test(t, func(t *testing.T) { played = playScenario(t, recorded) })
			switch {
			case bytes.Equal(played, recorded):
			case *update:
				if err := os.WriteFile(file, played, 0o600); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("the scenario played otherwise than it is recorded; go test ./internal/relay -run TestScenarios -update writes it anew:\n%s", played)
			}
		})
	}
}

// stage is the world of one scenario.
type stage struct {
	bed
	change []func(*relay.Config)
	relays map[string]*sim.Process
	txns   []walsender.Txn
	known  map[string]string // what was last said of each part of the world
	stored int
}

func playScenario(t *testing.T, script []byte) []byte {
	s := &stage{
		bed:    bed{t: t, srv: walsender.New(walsender.Config{}), to: sinktest.NewFaulty(), rel: walsender.Outbox()},
		relays: map[string]*sim.Process{}, known: map[string]string{},
	}
	defer s.srv.Close()
	s.db = sim.NewDatabase(s.srv, sim.Slot)
	s.db.MarkWAL = 0 // so that LSNs hang on the script alone
	defer func() {
		for _, p := range s.relays {
			p.Crash()
			<-p.Done
		}
	}()
	var out bytes.Buffer
	recorded := false
	for line := range strings.Lines(string(script)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "----":
			recorded = true
		case recorded && line != "":
		case line == "" || strings.HasPrefix(line, "#"):
			recorded = false
			fmt.Fprintln(&out, line)
		default:
			fmt.Fprintf(&out, "%s\n----\n", line)
			if err := s.command(strings.Fields(line)); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			synctest.Wait()
			if news := s.news(strings.HasPrefix(line, "wait")); len(news) > 0 {
				fmt.Fprintln(&out, strings.Join(news, "\n"))
			}
		}
	}
	return out.Bytes()
}

func (s *stage) command(words []string) error {
	args := words[1:]
	switch words[0] {
	case "window":
		n, err := strconv.Atoi(args[0])
		s.change = append(s.change, window(n))
		return err
	case "batches":
		n, err := strconv.Atoi(args[0])
		s.to.Config.MaxBatchEvents = n
		return err
	case "policy":
		s.change = append(s.change, policy(relay.Policy(args[0])))
	case "start":
		cfg := s.config(s.change...)
		cfg.Log = zerolog.Nop()
		s.relays[args[0]] = sim.Start(cfg, s.db, s.to.Open)
	case "crash":
		s.relays[args[0]].Crash()
		delete(s.relays, args[0])
	case "drain":
		s.relays[args[0]].Stop()
	case "commit":
		keys := args
		if n, err := strconv.Atoi(args[0]); err == nil { // commit 100 a: so many rows of one key
			keys = slices.Repeat(args[1:2], n)
		}
		s.txns = append(s.txns, s.commit(keys...))
	case "wal":
		n, err := strconv.Atoi(args[0])
		s.srv.AdvanceWAL(n << 20)
		return err
	case "wait":
		d, err := time.ParseDuration(args[0])
		s.pass(d)
		return err
	case "cut":
		s.srv.Cut()
	case "cut-after":
		n, err := strconv.Atoi(args[0])
		s.srv.CutAfter(n)
		return err
	case "checkpoint":
		s.srv.Checkpoint()
	case "server-crash":
		s.srv.Crash()
		s.db.Cut()
	case "destination":
		return s.destination(args)
	case "marks":
		s.db.Faults(nil)
		if args[0] == "fail" {
			s.db.Faults(func(call string) (f sim.Fault) {
				if call == "Write" {
					f.Err = errors.New("no space left on device")
				}
				return f
			})
		}
	case "requeue":
		s.db.RequeueAll()
	case "pause":
		s.db.Pause(true)
	case "resume":
		s.db.Pause(false)
	default:
		return errors.New("unknown command")
	}
	return nil
}

func (s *stage) destination(args []string) error {
	switch args[0] {
	case "stalls": // stalls; stalls on 3: at that event; stalls from 3: at that event and all later ones
		at := 0
		if len(args) == 3 {
			at, _ = strconv.Atoi(args[2])
		}
		s.to.Stall(func(ev *decoder.Event) bool {
			n := number(ev.Value)
			return n == at || len(args) == 1 || args[1] == "from" && n > at
		})
	case "answers":
		s.to.Stall(nil)
	case "refuses":
		n, err := strconv.Atoi(args[1])
		s.refuse(n)
		return err
	case "accepts":
		s.refuse(0)
	default:
		return errors.New("a destination stalls, answers, refuses or accepts")
	}
	return nil
}

// news is what changed since it was asked last; mark and slot only once they had time to settle.
func (s *stage) news(settled bool) (lines []string) {
	say := func(what, now string) {
		if s.known[what] != now {
			lines = append(lines, "  "+what+" "+now)
			s.known[what] = now
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.relays)) {
		p := s.relays[name]
		state := p.Relay.Status().State
		var stop *relay.StopError
		if !p.Running() && errors.As(p.Err, &stop) {
			state = fmt.Sprintf("stopped with exit code %d", stop.Code)
		} else if !p.Running() {
			state = fmt.Sprintf("returned %v", p.Err)
		}
		say("relay "+name, state)
	}
	lines = append(lines, s.delivered()...)
	for _, l := range s.db.Letters() {
		say(fmt.Sprintf("dead letter %s of %s", l.Value, l.Key), string(l.State))
	}
	if n := s.db.ParkedKeys(); n > 0 || s.known["parked keys"] != "" {
		say("parked keys", strconv.Itoa(n))
	}
	if !settled {
		return lines
	}
	if m := s.db.Mark(); m != nil && !m.Creating {
		at := s.name(m.LSN)
		for i, tx := range s.txns {
			if tx.Commit == m.OpenCommit {
				at += fmt.Sprintf(", and t%d up to its row %d", i+1, m.OpenIndex+1)
			}
		}
		say("mark", at)
	}
	if slot, ok := s.srv.Slot(sim.Slot); ok {
		say("slot", s.name(slot.Confirmed))
	}
	return lines
}

// delivered lists what the destination got since it was asked last, by key.
func (s *stage) delivered() (lines []string) {
	all := s.to.Stored()
	byKey := map[string][]string{}
	for _, r := range all[s.stored:] {
		byKey[string(r.Key)] = append(byKey[string(r.Key)], strconv.Itoa(number(r.Value)))
	}
	s.stored = len(all)
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		if n := byKey[key]; len(n) > 12 {
			byKey[key] = append(append(slices.Clone(n[:3]), "..."), n[len(n)-1], fmt.Sprintf("(%d)", len(n)))
		}
		lines = append(lines, fmt.Sprintf("  delivered %s: %s", key, strings.Join(byKey[key], " ")))
	}
	return lines
}

// number of an event, by its payload.
func number(value []byte) (n int) {
	_, _ = fmt.Sscanf(string(value), `{"n":%d}`, &n)
	return n
}

// name of an LSN.
func (s *stage) name(lsn pglogrepl.LSN) string {
	for i := len(s.txns) - 1; i >= 0; i-- {
		switch tx := s.txns[i]; {
		case lsn == tx.End:
			return fmt.Sprintf("t%d", i+1)
		case lsn > tx.End:
			return fmt.Sprintf("after t%d", i+1)
		}
	}
	return "the beginning"
}
