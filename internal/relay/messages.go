package relay

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/decoder"
)

// messageRights refuses to read messages while everybody may write them: any role of the database could forge events.
func (s *session) messageRights(ctx context.Context) (notes []string, err error) {
	rights, err := s.ledger.MessageRights(ctx)
	switch {
	case err != nil:
		return nil, err
	case rights.Public:
		return nil, &StopError{Code: ExitPrecondition, Err: fmt.Errorf("messages are on, and PUBLIC may execute pg_logical_emit_message: any role of this database could forge events, or stop the relay; "+
			"as a superuser run `%s` in this database, and grant EXECUTE on function cdc_relay.emit_message to those who write events; or set messages: off", rights.Needed)}
	case !rights.OwnerMay:
		notes = append(notes, fmt.Sprintf("cdc_relay.emit_message fails for everybody: its owner %s may not execute pg_logical_emit_message; as a superuser run `%s` in this database", rights.Owner, rights.Needed))
	}
	return notes, nil
}

// messages are the spans in which messages are events, once the configuration is among them: turned on, they begin here;
// turned off, they end here. What was committed before keeps the events that it has, whoever reads it (I9). Nothing has been
// decoded yet, and the slot is ours, so nobody has seen a transaction that commits after this.
func (s *session) messages(ctx context.Context) ([]decoder.Span, error) {
	open := false
	for _, span := range s.spans {
		open = open || span.Until == 0
	}
	if on := s.relay.cfg.Messages; open != on {
		if err := s.ledger.SwitchMessages(ctx, s.conn.PID(), s.mark.Incarnation, on); err != nil {
			return nil, err
		}
		var err error
		if s.spans, err = s.ledger.MessageSpans(ctx, &s.mark); err != nil {
			return nil, err
		}
		s.relay.log.Info().Bool("on", on).Msg("messages turned on or off, for transactions that begin from now on")
	}
	out := make([]decoder.Span, len(s.spans))
	for i, span := range s.spans {
		out[i] = decoder.Span{Since: span.Since, Until: span.Until, UntilXID: span.UntilXID}
	}
	return out, nil
}
