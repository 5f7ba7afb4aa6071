package record

// Column is one of the names that a table's columns are mapped to.
type Column uint8

// The logical columns of an outbox table. ColRoutedBy is the column that Debezium's route.by.field names.
const (
	ColEventID Column = iota
	ColAggregateType
	ColAggregateID
	ColEventType
	ColTopic
	ColPartitionKey
	ColPayload
	ColHeaders
	ColCreatedAt
	ColSeq
	ColRoutedBy
	NumColumns
)

// String is the name that configuration uses: event_id, aggregate_type, ...
func (c Column) String() string {
	switch c {
	case ColEventID:
		return "event_id"
	case ColAggregateType:
		return "aggregate_type"
	case ColAggregateID:
		return "aggregate_id"
	case ColEventType:
		return "event_type"
	case ColTopic:
		return "topic"
	case ColPartitionKey:
		return "partition_key"
	case ColPayload:
		return "payload"
	case ColHeaders:
		return "headers"
	case ColCreatedAt:
		return "created_at"
	case ColSeq:
		return "seq"
	case ColRoutedBy:
		return "route_by_field"
	case NumColumns:
	}
	return "unknown"
}

// Row is one inserted row: column values in Postgres's text form, nil for SQL NULL (and for a column that is not mapped), and
// where it stands. Encoders read it during the call only.
type Row struct {
	Values [NumColumns][]byte
	Extra  [][]byte // the columns that Format.Extra names, in its order

	Commit     uint64 // commit LSN (final_lsn of Begin)
	Index      uint32 // among the inserts of the transaction, from 0
	CommitTime int64  // microseconds since the Unix epoch
}

// Type is a column's type as Relation gives it: the OID and the type modifier (-1: none).
type Type struct {
	OID uint32
	Mod int32
}

// Shape says which logical columns a relation has, and of which types.
type Shape struct {
	Mapped [NumColumns]bool
	Types  [NumColumns]Type
	Extra  []Type // of the columns that Format.Extra names; all of them must be there

	// Raw says that a bytea payload is the bytes themselves (a logical message), not their hex form (a column).
	Raw bool
}

// Record is one encoded row. Its slices point into the buffer that Append returned; their capacity ends where they end.
type Record struct {
	Key       []byte // nil: null key
	Value     []byte // nil: tombstone
	Headers   Headers
	Partition int32 // -1: murmur2 of the key decides

	ID, Type, AggregateType, AggregateID []byte // nil: SQL NULL or not mapped

	// Refused says why nobody should be sent this record; "" for all others.
	Refused string
}

// OIDs of Postgres's own types, pg_type.dat. They are the same in every database.
const (
	oidBytea   = 17
	oidText    = 25
	oidJSON    = 114
	oidBpchar  = 1042
	oidVarchar = 1043
	oidJSONB   = 3802
)
