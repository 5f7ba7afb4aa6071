package insert

import (
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Way is how events are written.
type Way uint8

// Rows go into the table. Messages have none: they go through cdc_relay.emit_message.
const (
	Rows Way = iota
	Messages
)

// message is make without a table. The parameters are the same, in the same order.
func (t *Texts) message(many bool, c Columns) string {
	names, source := t.source(many, c)
	args := make([]string, len(names))
	if t.options.Returning {
		for i, name := range names {
			args[i] = name + " => e." + name
		}
		return "WITH e (" + strings.Join(names, ", ") + ") AS MATERIALIZED (" + source + ") " + t.printed(c) +
			" WHERE cdc_relay.emit_message(" + strings.Join(args, ", ") + ") IS NOT NULL"
	}
	for i, name := range names {
		cast, array := "::text", "::text[]" // emit_messages takes texts
		switch name {
		case "event_id":
			cast = "::uuid"
		case "payload":
			cast = "::" + string(t.options.PayloadType)
			if t.options.PayloadType == outbox.Bytea {
				array = "::bytea[]"
			}
		case "headers":
			cast = "::jsonb"
		}
		if many {
			if cast = array; name != "headers" {
				name += "s"
			}
		}
		args[i] = name + " => $" + strconv.Itoa(i+1) + cast
	}
	if many {
		return "SELECT cdc_relay.emit_messages(" + strings.Join(args, ", ") + ")"
	}
	return "SELECT cdc_relay.emit_message(" + strings.Join(args, ", ") + ")"
}
