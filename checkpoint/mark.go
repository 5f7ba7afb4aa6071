package checkpoint

import (
	"github.com/jackc/pglogrepl"
)

// Mark is the durable row of one slot in cdc_relay.checkpoint (DESIGN: the mark). Nothing is confirmed to the slot that it
// does not hold.
type Mark struct {
	Slot        string
	Publication string
	Creating    bool   // the intent of a first start: the slot may or may not exist yet
	Nonce       string // who wrote the intent

	SystemID    string // pg_control_system().system_identifier, decimal
	Timeline    int32
	Incarnation string // random; new after a repair or `slot adopt --new-incarnation`; part of cdc-source

	LSN        pglogrepl.LSN // end LSN of the last transaction wholly acknowledged, or a keepalive between transactions
	OpenCommit pglogrepl.LSN // commit LSN of a transaction that is acknowledged in part, 0: none
	OpenIndex  uint32        // its inserts up to and including this index are acknowledged
	OpenHash   string        // what defined the index; when it differs from the configuration's, the open part is ignored

	Fingerprint string // of the publication
	HorizonXID  uint64 // every transaction that commits after LSN has an xid at or above it
	HorizonLSN  pglogrepl.LSN
	Paused      bool
}

// MessageSpan is a part of the slot's history in which logical messages are events: transactions that commit at or after
// Since, and before Until (0: it goes on) or with an xid below UntilXID.
type MessageSpan struct {
	Since, Until pglogrepl.LSN
	UntilXID     uint64
}

// MessageRights says who may write logical messages.
type MessageRights struct {
	Public   bool   // everybody: PUBLIC has EXECUTE on pg_logical_emit_message
	Owner    string // of cdc_relay.emit_message, which writes on behalf of applications
	OwnerMay bool   // it has the right itself
	Needed   string // statements that take the right from PUBLIC and give it to Owner
}

// Update is what one write of the mark carries.
type Update struct {
	SystemID    string // must equal the row's
	Timeline    int32  // at or above the row's
	Incarnation string // must equal the row's
	LSN         pglogrepl.LSN
	OpenCommit  pglogrepl.LSN
	OpenIndex   uint32
	OpenHash    string
	HorizonXID  uint64
	HorizonLSN  pglogrepl.LSN
}
