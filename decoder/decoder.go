package decoder

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/record"
)

// Kind says what a message was.
type Kind uint8

const (
	Nothing   Kind = iota // nothing to do for the caller
	Begin                 // a transaction opened
	Inserted              // one more event waits for Take
	Committed             // the transaction is complete; Tx has its end LSN
)

// Tx is the open or just committed transaction.
type Tx struct {
	CommitLSN  pglogrepl.LSN // as Begin carries it: the positions of its events
	EndLSN     pglogrepl.LSN // what may be confirmed once all is acknowledged (I3); 0 until Commit
	CommitTime int64         // microseconds since the Unix epoch
	XID        uint32
	Counted    uint32 // inserts and messages so far, those of other tables and skipped ones too
	Index      uint32 // of the last one counted; means nothing while Counted is 0
}

// Decoder decodes the messages of one session. It is not safe for use by several goroutines.
type Decoder struct {
	tables    map[string]*table
	relations map[uint32]*relation
	ignored   map[string]*uint64
	hash      string

	last    *relation // of lastOID, the relation of the insert before
	lastOID uint32

	messages *messages // nil: all are passed over

	tx     Tx
	open   bool
	counts bool // whether messages of the open transaction are events
	skip   Position
	skips  bool
	block  cursor
}

// New checks cfg and makes a decoder for one session. All mistakes come back at once.
func New(cfg Config) (*Decoder, error) {
	d := &Decoder{
		tables:    make(map[string]*table, len(cfg.Tables)),
		relations: make(map[uint32]*relation),
		ignored:   make(map[string]*uint64),
		block:     cursor{pool: cfg.Pool},
	}
	var errs []error
	if len(cfg.Tables) == 0 {
		errs = append(errs, errors.New("no outbox table is configured"))
	}
	for _, t := range cfg.Tables {
		checked, err := newTable(&cfg, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if d.tables[t.Name] != nil {
			errs = append(errs, fmt.Errorf("table %q is configured twice", t.Name))
		}
		d.tables[t.Name] = checked
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(cfg.Messages) > 0 {
		var err error
		if d.messages, err = newMessages(cfg.Messages, d.tables[cfg.Tables[0].Name], cfg.Tables[0].Debezium); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte("pgoutput 1, inserts and messages of their spans from 0; publication " + cfg.Publication))
	d.hash = hex.EncodeToString(sum[:8])
	return d, nil
}

// Hash stands for all that Position.Index depends on: protocol version, what is counted, the publications' names. The tables
// of the configuration are no part of it, nor whether messages are on: a transaction's span says so for good.
func (d *Decoder) Hash() string { return d.hash }

// Tx is the open transaction, or the one committed last.
func (d *Decoder) Tx() Tx { return d.tx }

// OpenTx says whether a transaction has begun and not ended.
func (d *Decoder) OpenTx() bool { return d.open }

// SkipThrough makes inserts at or before p yield no event: they have been handed on before. They are counted all the same.
func (d *Decoder) SkipThrough(p Position) { d.skip, d.skips = p, true }

// Full says that Take must come before the next Decode.
func (d *Decoder) Full() bool { return d.block.full() }

// Take returns the events since the last Take, in commit order, nil when there are none. They are the caller's, and lie in
// one block: Block tells which.
func (d *Decoder) Take() []Event { return d.block.take() }

// Block is where the events of the last Take that returned some lie; nil before. When it has changed, no more events will
// come to lie in the one before.
func (d *Decoder) Block() *Block { return d.block.from }

// Ignored counts, by name, the inserts of tables that are in the publication and not in the configuration.
func (d *Decoder) Ignored() map[string]uint64 {
	out := make(map[string]uint64, len(d.ignored))
	for name, n := range d.ignored {
		if *n > 0 {
			out[name] = *n
		}
	}
	return out
}

// Decode reads one pgoutput message. msg stays the caller's and is not kept. The error is a *DecodeError, or ErrFull.
func (d *Decoder) Decode(msg []byte) (Kind, error) {
	if len(msg) == 0 {
		return Nothing, d.fail(errors.New("message is empty"))
	}
	r := reader{rest: msg[1:]}
	switch msg[0] {
	case 'I':
		return d.insert(&r)
	case 'B':
		return d.begin(&r)
	case 'C':
		return d.commit(&r)
	case 'R':
		return Nothing, d.relationMessage(&r)
	case 'U', 'D', 'T':
		if !d.open {
			return Nothing, d.fail(fmt.Errorf("message %q stands outside of a transaction", msg[0]))
		}
		return Nothing, nil
	case 'M':
		return d.message(&r)
	case 'O', 'Y': // Origin, Type
		return Nothing, nil
	}
	return Nothing, d.fail(fmt.Errorf("message type %q is unknown: start the replication with proto_version 1, without streaming"+
		" and two_phase", msg[0]))
}

func (d *Decoder) begin(r *reader) (Kind, error) {
	commit, stamp, xid := r.uint64(), int64(r.uint64()), r.uint32()
	switch {
	case r.short:
		return Nothing, d.fail(errShort)
	case len(r.rest) > 0:
		return Nothing, d.fail(fmt.Errorf("begin message is %d bytes too long", len(r.rest)))
	case d.open:
		return Nothing, d.fail(errors.New("begin message stands inside a transaction"))
	}
	d.tx = Tx{CommitLSN: pglogrepl.LSN(commit), CommitTime: stamp + postgresEpoch, XID: xid}
	d.open = true
	d.counts = d.messages != nil && d.messages.hold(d.tx.CommitLSN, xid)
	return Begin, nil
}

// postgresEpoch is 2000-01-01, from which Postgres counts microseconds, in Unix time.
const postgresEpoch = 946_684_800_000_000

func (d *Decoder) commit(r *reader) (Kind, error) {
	r.uint8() // flags: none are defined
	commit, end, _ := r.uint64(), r.uint64(), r.uint64()
	switch {
	case r.short:
		return Nothing, d.fail(errShort)
	case len(r.rest) > 0:
		return Nothing, d.fail(fmt.Errorf("commit message is %d bytes too long", len(r.rest)))
	case !d.open:
		return Nothing, d.fail(errors.New("commit message stands outside of a transaction"))
	case pglogrepl.LSN(commit) != d.tx.CommitLSN:
		return Nothing, d.fail(fmt.Errorf("commit message carries LSN %s, not the one that its begin message promised", pglogrepl.LSN(commit)))
	}
	d.tx.EndLSN = pglogrepl.LSN(end)
	d.open = false
	return Committed, nil
}

func (d *Decoder) insert(r *reader) (Kind, error) {
	oid, mark, n := r.uint32(), r.uint8(), int(r.uint16())
	if r.short {
		return Nothing, d.fail(errShort)
	}
	if !d.open {
		return Nothing, d.fail(errors.New("insert message stands outside of a transaction"))
	}
	rel := d.last
	if rel == nil || d.lastOID != oid {
		if rel = d.relations[oid]; rel == nil {
			return Nothing, d.fail(fmt.Errorf("insert message is for relation %d, which no relation message has named", oid))
		}
		d.last, d.lastOID = rel, oid
	}
	here, skip, err := d.next(rel.ignored != nil)
	if err != nil {
		return Nothing, err
	}
	if skip {
		if rel.ignored != nil {
			*rel.ignored++
		}
		return Nothing, nil
	}
	if rel.err != nil {
		err := *rel.err
		err.Position = here
		return Nothing, &err
	}
	if mark != 'N' || n != len(rel.slots) {
		return Nothing, &DecodeError{
			Position: here, Relation: rel.name,
			Err: fmt.Errorf("insert message has a tuple %q of %d columns, the relation has %d", mark, n, len(rel.slots)),
		}
	}
	return d.decodeRow(rel, here, r.rest)
}

// next counts an insert or a message, and says where it stands and whether it is to be passed over.
func (d *Decoder) next(ignored bool) (here Position, skip bool, err error) {
	if d.tx.Counted == math.MaxUint32 {
		return here, false, d.fail(errors.New("transaction has more inserts than an index can count: split it"))
	}
	here = d.position()
	skip = ignored || d.skips && here.Compare(d.skip) <= 0
	if !skip && d.block.full() {
		return here, false, ErrFull
	}
	d.tx.Index = d.tx.Counted
	d.tx.Counted++
	return here, skip, nil
}

// decodeRow reads the row's values and makes its event. The row lies on this function's stack, and the loop is in it: slices
// stored by way of a pointer would each pay a write barrier while the garbage collector marks, once half of an event's time.
func (d *Decoder) decodeRow(rel *relation, here Position, tuple []byte) (Kind, error) {
	row := record.Row{Extra: rel.extra, Commit: uint64(here.Commit), Index: here.Index, CommitTime: d.tx.CommitTime}
	at := 0
	for i, slot := range rel.slots {
		if at == len(tuple) {
			return Nothing, rel.fail(here, i, errShort)
		}
		kind := tuple[at]
		at++
		var value []byte
		switch kind {
		case 'n', 'u':
		case 't', 'b':
			if len(tuple)-at < 4 {
				return Nothing, rel.fail(here, i, errShort)
			}
			n := int(binary.BigEndian.Uint32(tuple[at:]))
			at += 4
			if n < 0 || n > len(tuple)-at {
				return Nothing, rel.fail(here, i, errShort)
			}
			value = tuple[at : at+n : at+n]
			at += n
		default:
			return Nothing, rel.fail(here, i, fmt.Errorf("value is of unknown kind %q", kind))
		}
		switch {
		case slot == noSlot:
		case kind == 'b':
			return Nothing, rel.fail(here, i, errors.New("value is in binary form: start the replication with binary off"))
		case kind == 'u':
			return Nothing, rel.fail(here, i, errors.New("value is marked as unchanged, which an insert cannot have:"+
				" this server is not known to the relay"))
		case slot < int16(record.NumColumns):
			row.Values[slot] = value
		default:
			row.Extra[slot-int16(record.NumColumns)] = value
		}
	}
	if at != len(tuple) {
		return Nothing, &DecodeError{Position: here, Relation: rel.name, Err: fmt.Errorf("insert message is %d bytes too long", len(tuple)-at)}
	}
	for _, c := range rel.copies {
		set(&row, c.to, get(&row, c.from))
	}
	kind, err := d.event(rel, rel.table.name, here, &row)
	clear(rel.extra) // it points into the caller's message
	return kind, err
}

// event copies the row into the block; table is where it came from.
func (d *Decoder) event(rel *relation, table string, here Position, row *record.Row) (Kind, error) {
	var seq int64
	if text := row.Values[record.ColSeq]; text != nil {
		var err error
		if seq, err = strconv.ParseInt(string(text), 10, 64); err != nil {
			return Nothing, &DecodeError{Position: here, Relation: rel.name, Column: rel.table.columns[record.ColSeq].name, Err: err}
		}
	}
	topic, refused := rel.table.router.Topic(row)
	bound := rel.encoder.Bound(row)
	var rec record.Record
	d.block.room()
	filled := rel.encoder.Append(d.block.space(bound), row, &rec)
	d.block.keep(bound, filled)
	d.block.weight += len(filled)
	if rec.Refused != "" {
		refused = rec.Refused
	}
	*d.block.next() = Event{
		Position: here, CommitTime: d.tx.CommitTime, XID: d.tx.XID,
		Topic: topic, Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Partition: rec.Partition,
		ID: rec.ID, Type: rec.Type, AggregateType: rec.AggregateType, AggregateID: rec.AggregateID,
		Table: table, Seq: seq, Refused: refused,
	}
	return Inserted, nil
}

// position is that of the next insert or message.
func (d *Decoder) position() Position {
	if !d.open {
		return Position{}
	}
	return Position{Commit: d.tx.CommitLSN, Index: d.tx.Counted}
}

func (d *Decoder) fail(err error) error { return &DecodeError{Position: d.position(), Err: err} }
