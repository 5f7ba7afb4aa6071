package decoder

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/record"
)

// Prefix is that of our logical messages. Those of all other prefixes are somebody else's.
const Prefix = "cdc_relay"

// A message of ours, as cdc_relay.emit_message writes it:
//
//	1 byte    version: 1
//	1 byte    flags: what is there, and of which kind the payload is
//	16 bytes  event_id
//	text      aggregate_type, aggregate_id, event_type, then topic, partition_key and headers where the flags say so; each
//	          in UTF-8 with a zero byte behind it, which no text of Postgres contains
//	the rest  payload, where the flags say that there is one: it may be empty, which is not null
const (
	messageVersion = 1
	messageHeader  = 1 + 1 + 16

	flagTopic        = 0x01
	flagPartitionKey = 0x02
	flagHeaders      = 0x04 // not there: none
	flagPayload      = 0x08 // not there: null
	flagKind         = 0x30 // of the payload: 0x00 jsonb or json, 0x10 text, 0x20 bytea (the bytes themselves)
	flagsUnknown     = 0xc0
	kindShift        = 4
)

// Span is a part of the slot's history in which messages of Prefix are events. It is a fact about transactions, written down
// when messages are turned on or off, and not a setting of the process that reads: a transaction that is read again, under
// whatever configuration, has the same events at the same positions.
type Span struct {
	Since pglogrepl.LSN // transactions whose commit LSN is at or after it
	Until pglogrepl.LSN // and before this one; 0: it goes on
	// UntilXID lets transactions in that began before messages were turned off, and ended after: those with an older xid.
	UntilXID uint64
}

// holds tells whether a transaction lies in the span.
func (s Span) holds(commit pglogrepl.LSN, xid uint32) bool {
	return commit >= s.Since && (s.Until == 0 || commit < s.Until || int32(xid-uint32(s.UntilXID)) < 0)
}

// messages is how messages become events: as rows of the first table would.
type messages struct {
	spans    []Span
	kinds    [3]relation // by kind of the payload
	routedBy record.Column
	key      record.Column // whose value is the partition key
	extra    []record.Column
	id       [36]byte // scratch: the event id as text
}

// newMessages binds the first table's format to the columns that a message has: all that emit_message takes. What the
// configuration names by a column of that table is found by what the column is mapped to.
func newMessages(spans []Span, t *table, d record.Debezium) (*messages, error) {
	m := &messages{spans: spans, routedBy: record.ColAggregateType, key: record.ColPartitionKey}
	var errs []error
	named := func(column, setting string) record.Column {
		for i, mapped := range t.columns[:record.ColCreatedAt] {
			c := record.Column(i)
			if c.String() == column || mapped.name == column && c != record.ColPartitionKey { // event_key has taken that one's place
				return c
			}
		}
		errs = append(errs, fmt.Errorf("%s names column %q, which a message does not have: leave it out, or turn messages off", setting, column))
		return 0
	}
	if d.RouteByField != "" {
		m.routedBy = named(d.RouteByField, "route_by_field")
	}
	if d.EventKey != "" {
		m.key = named(d.EventKey, "event_key")
	}
	shape := record.Shape{Raw: true}
	for c := range record.ColCreatedAt {
		shape.Mapped[c], shape.Types[c] = true, record.Type{OID: oidText, Mod: -1}
	}
	shape.Types[record.ColEventID].OID = oidUUID
	shape.Types[record.ColHeaders].OID = oidJSONB
	for _, column := range t.format.Extra() {
		c := named(column, "additional_placement")
		m.extra = append(m.extra, c)
		shape.Extra = append(shape.Extra, shape.Types[c])
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	extra := make([][]byte, len(m.extra))
	for kind, oid := range []uint32{oidJSONB, oidText, oidBytea} {
		shape.Types[record.ColPayload].OID = oid
		rel := relation{name: messageName, table: t, extra: extra}
		var err error
		if rel.encoder, err = t.format.Bind(shape); err != nil { // said at the first such message, as of a table's columns
			rel.err = &DecodeError{Relation: messageName, Column: rel.badColumn(err), Err: err}
		}
		m.kinds[kind] = rel
	}
	return m, nil
}

// messageName stands in errors where a row has its table.
const messageName = "logical message"

// OIDs of Postgres's own types, pg_type.dat.
const (
	oidBytea = 17
	oidText  = 25
	oidUUID  = 2950
	oidJSONB = 3802
)

// hold tells whether messages of a transaction are events.
func (m *messages) hold(commit pglogrepl.LSN, xid uint32) bool {
	return slices.ContainsFunc(m.spans, func(s Span) bool { return s.holds(commit, xid) })
}

// message reads a logical message: 'M' of pgoutput.
func (d *Decoder) message(r *reader) (Kind, error) {
	if d.messages == nil {
		return Nothing, nil
	}
	flags, lsn, prefix := r.uint8(), pglogrepl.LSN(r.uint64()), r.text()
	content := r.bytes(int(r.uint32()))
	if r.short || len(r.rest) > 0 {
		return Nothing, d.fail(errors.New("logical message's length is not what it says: something between Postgres and the relay changed it"))
	}
	if string(prefix) != Prefix {
		return Nothing, nil
	}
	if flags&1 == 0 {
		if !slices.ContainsFunc(d.messages.spans, func(s Span) bool { return lsn >= s.Since && (s.Until == 0 || lsn < s.Until) }) {
			return Nothing, nil
		}
		// It has no place in the order of commits, and stands even when its transaction was rolled back. Its own LSN names it:
		// no commit record can lie there.
		return Nothing, &DecodeError{Position: Position{Commit: lsn}, Relation: messageName, Err: errNotTransactional}
	}
	if !d.open {
		return Nothing, d.fail(errors.New("transactional message stands outside of a transaction"))
	}
	if !d.counts {
		return Nothing, nil
	}
	here, skip, err := d.next(false)
	if skip || err != nil {
		return Nothing, err
	}
	return d.decodeMessage(here, content)
}

// decodeMessage makes the event; its row lies on the stack, as decodeRow's.
func (d *Decoder) decodeMessage(here Position, content []byte) (Kind, error) {
	m := d.messages
	fail := func(err error) (Kind, error) {
		return Nothing, &DecodeError{Position: here, Relation: messageName, Err: err}
	}
	if len(content) == 0 {
		return fail(errMessage)
	}
	if content[0] != messageVersion {
		return fail(fmt.Errorf("version %d of the message is unknown: it was written by a newer schema, so update the relay", content[0]))
	}
	if len(content) < messageHeader {
		return fail(errMessage)
	}
	flags := content[1]
	if flags&flagsUnknown != 0 || flags&flagKind == flagKind {
		return fail(fmt.Errorf("flags %#02x of the message are unknown: it was not written by cdc_relay.emit_message", flags))
	}
	appendUUID(&m.id, content[2:messageHeader])
	r := reader{rest: content[messageHeader:]}
	row := record.Row{Commit: uint64(here.Commit), Index: here.Index, CommitTime: d.tx.CommitTime}
	row.Values[record.ColEventID] = m.id[:]
	row.Values[record.ColAggregateType] = r.text()
	row.Values[record.ColAggregateID] = r.text()
	row.Values[record.ColEventType] = r.text()
	if flags&flagTopic != 0 {
		row.Values[record.ColTopic] = r.text()
	}
	if flags&flagPartitionKey != 0 {
		row.Values[record.ColPartitionKey] = r.text()
	}
	if flags&flagHeaders != 0 {
		row.Values[record.ColHeaders] = r.text()
	}
	if flags&flagPayload != 0 {
		row.Values[record.ColPayload] = r.rest
	} else if len(r.rest) > 0 {
		return fail(errMessage)
	}
	if r.short {
		return fail(errMessage)
	}
	rel := &m.kinds[flags&flagKind>>kindShift]
	if rel.err != nil {
		err := *rel.err
		err.Position = here
		return Nothing, &err
	}
	row.Values[record.ColRoutedBy] = row.Values[m.routedBy]
	row.Values[record.ColPartitionKey] = row.Values[m.key]
	row.Extra = rel.extra
	for i, c := range m.extra {
		row.Extra[i] = row.Values[c]
	}
	kind, err := d.event(rel, "", here, &row)
	clear(rel.extra)
	return kind, err
}

// appendUUID writes the 16 bytes of an id as Postgres prints a uuid.
func appendUUID(to *[36]byte, id []byte) {
	const digits = "0123456789abcdef"
	at := 0
	for i, b := range id[:16] {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			to[at] = '-'
			at++
		}
		to[at], to[at+1] = digits[b>>4], digits[b&15]
		at += 2
	}
}
