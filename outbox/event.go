package outbox

// Event is one event to be written. AggregateType, AggregateID and Type are required; texts are UTF-8 without NUL.
type Event struct {
	// ID is a UUID in its canonical form, by which consumers tell a copy from a new event. Default: a UUIDv7 made by Write
	// and handed back in [Written]. Give one when a retry of the whole business operation must be the same event.
	ID string
	// AggregateType is what kind of thing the event is about ("orders"). It names the topic, unless Topic does.
	AggregateType string
	// AggregateID is which one it is about ("o-1"). It is the key, unless PartitionKey is.
	AggregateID string
	// Type is what happened ("OrderCreated").
	Type string
	// Topic is where to publish. Default: the relay's rule (outbox[].topic, by default the aggregate type).
	Topic string
	// PartitionKey orders events: those of one topic and key are published in commit order. Default: AggregateID.
	PartitionKey string
	// Payload is the record's value. nil, or a nil []byte, is a tombstone: SQL NULL, a null value. A []byte or a
	// json.RawMessage is written as it is; anything else as its JSON, a string too: use []byte for text that stands for
	// itself. HTML characters are not escaped.
	Payload any
	// Headers become the record's: a string as it is, anything else as its JSON text. They win over those that
	// Options.ContextHeaders finds. Names that belong to the relay are refused, because it would leave them out: event_id,
	// event_type, aggregate_type, aggregate_id, and what begins with cdc-, ce_ or __debezium. (id is left out too where the
	// relay writes Debezium's format.)
	Headers map[string]any
}

// Written says what became of an event. It is no promise that it will be published: that is the transaction's commit.
type Written struct {
	ID            string // as given, in lower case, or as made
	AggregateType string
	AggregateID   string
	Type          string
	Topic         string // "": the relay's rule names it
	Key           string // the record's key: partition key, else aggregate id

	// Value and Headers are what the relay will publish: the payload and the row's own headers (a JSON object) as Postgres
	// prints them. Only where Options.Returning says so, nil otherwise; a nil Value beside Headers is a tombstone.
	Value   []byte
	Headers []byte
}
