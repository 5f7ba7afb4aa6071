package relay

// Keys of log lines. A payload is never logged.
const (
	keySlot    = "slot"
	keyLSN     = "lsn"
	keyXID     = "xid"
	keyEvents  = "events"
	keyBytes   = "bytes"
	keyAttempt = "attempt"
	keyTopic   = "topic"
	keyCure    = "cure"
)
