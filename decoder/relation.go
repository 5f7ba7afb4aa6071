package decoder

import (
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/record"
)

// noSlot marks a column that nothing reads.
const noSlot = -1

// relation is what the last Relation message of an OID said, and what became of it.
type relation struct {
	name    string
	ignored *uint64 // counts inserts of a table that is not configured; nil for those that are

	table   *table
	columns []string // by attribute, for errors
	slots   []int16  // by attribute: where its value goes, noSlot: nowhere
	copies  []copied // values that are wanted twice
	extra   [][]byte // scratch: Row.Extra
	encoder *record.Encoder
	err     *DecodeError // why no row of it can be decoded
}

// copied is a second use of a column's value.
type copied struct{ from, to int16 }

// relationMessage takes note of a table. What is wrong with it is said at its first row, which has a position.
func (d *Decoder) relationMessage(r *reader) error {
	oid := r.uint32()
	namespace, name := string(r.text()), string(r.text())
	if namespace == "" {
		namespace = "pg_catalog" // logicalrep_write_namespace sends it so
	}
	rel := &relation{name: namespace + "." + name}
	fail := func(err error) error {
		return &DecodeError{Position: d.position(), Relation: rel.name, Err: err}
	}
	r.uint8() // replica identity
	n := int(r.uint16())
	if r.short {
		return fail(errShort)
	}
	types := make([]record.Type, n)
	rel.columns = make([]string, n)
	for i := range n {
		r.uint8() // flags: part of the replica identity
		rel.columns[i] = string(r.text())
		types[i] = record.Type{OID: r.uint32(), Mod: int32(r.uint32())}
		if r.short {
			return fail(errShort)
		}
	}
	if len(r.rest) > 0 {
		return fail(fmt.Errorf("relation message is %d bytes too long", len(r.rest)))
	}
	d.last = nil
	d.relations[oid] = rel
	rel.table = d.tables[rel.name]
	if rel.table == nil {
		rel.columns = nil
		if rel.ignored = d.ignored[rel.name]; rel.ignored == nil {
			rel.ignored = new(uint64)
			d.ignored[rel.name] = rel.ignored
		}
		return nil
	}
	rel.bind(types)
	return nil
}

// bind finds the configured columns among the relation's.
func (rel *relation) bind(types []record.Type) {
	rel.slots = make([]int16, len(rel.columns))
	for i := range rel.slots {
		rel.slots[i] = noSlot
	}
	extra := rel.table.format.Extra()
	rel.extra = make([][]byte, len(extra))
	shape := record.Shape{Extra: make([]record.Type, len(extra))}
	var missing []string
	place := func(name string, slot int16) (record.Type, bool) {
		for i, column := range rel.columns {
			if column != name {
				continue
			}
			if rel.slots[i] == noSlot {
				rel.slots[i] = slot
			} else {
				rel.copies = append(rel.copies, copied{rel.slots[i], slot})
			}
			return types[i], true
		}
		return record.Type{}, false
	}
	for c, m := range rel.table.columns {
		if m.name == "" {
			continue
		}
		if shape.Types[c], shape.Mapped[c] = place(m.name, int16(c)); !shape.Mapped[c] && !m.optional {
			missing = append(missing, m.name)
		}
	}
	for i, name := range extra {
		var ok bool
		if shape.Extra[i], ok = place(name, int16(record.NumColumns)+int16(i)); !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		rel.err = &DecodeError{
			Relation: rel.name, Column: missing[0],
			Err: fmt.Errorf("the table sends no columns %q: add them (to a column list of the publication too), or map them to"+
				` others by outbox[].columns ("" for none)`, missing),
		}
		return
	}
	if shape.Mapped[record.ColSeq] {
		switch shape.Types[record.ColSeq].OID {
		case 20, 21, 23: // int8, int2, int4
		default:
			rel.err = &DecodeError{
				Relation: rel.name, Column: rel.table.columns[record.ColSeq].name,
				Err: errors.New(`seq is no integer column: alter it, or set columns.seq: ""`),
			}
			return
		}
	}
	var err error
	if rel.encoder, err = rel.table.format.Bind(shape); err != nil {
		rel.err = &DecodeError{Relation: rel.name, Column: rel.badColumn(err), Err: err}
	}
}

// badColumn is the table's name of the column that err is about.
func (rel *relation) badColumn(err error) string {
	var bad *record.ColumnError
	if !errors.As(err, &bad) {
		return ""
	}
	for c, m := range rel.table.columns {
		if record.Column(c).String() == bad.Column && m.name != "" {
			return m.name
		}
	}
	return bad.Column
}

// fail is an error about attribute i of a row.
func (rel *relation) fail(here Position, i int, err error) error {
	return &DecodeError{Position: here, Relation: rel.name, Column: rel.columns[i], Err: err}
}

// set puts a value where the configuration wants it.
func set(row *record.Row, slot int16, value []byte) {
	if slot < int16(record.NumColumns) {
		row.Values[slot] = value
		return
	}
	row.Extra[slot-int16(record.NumColumns)] = value
}

func get(row *record.Row, slot int16) []byte {
	if slot < int16(record.NumColumns) {
		return row.Values[slot]
	}
	return row.Extra[slot-int16(record.NumColumns)]
}
