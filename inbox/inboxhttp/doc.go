// Package inboxhttp feeds an inbox from HTTP: webhooks of the relay's http sink, and CloudEvents over HTTP in binary and structured
// mode. Each request is one message.
//
//	p, _ := inbox.NewProcessor(store, "billing", handler, inbox.Options{IDs: inbox.Reject})
//	http.Handle("POST /events", inboxhttp.New(p, inboxhttp.Options{Topic: "orders"}))
//
// A sender is to try again when, and only when, trying again can change something:
//
//	outcome or error                             answer   the sender
//	Processed, Duplicate, Skipped, Expired       204      is done
//	DeadLettered, Parked                         202      is done: the inbox has it, and an operator will see to it
//	RetryAfter(d, err)                           503      tries again, not before the seconds of the header Retry-After
//	the database is away, the server stops       503      tries again
//	any other error of the handler               500      tries again, with its own back-off
//	no id, undecodable                           202      is done: it is a dead letter, another try brings the same bytes
//	a HaltError (policies, high-water mark)      503      tries again; an operator is needed here
//	body larger than MaxBytes                    413      gives up
//	another method than POST                     405      gives up
//
// Promises: headers of the relay (event_id, cdc-..., ce_... as ce-...) are read as on Kafka; nothing is answered before the transaction
// has ended.
//
// Not done here: authentication, order (two requests may overtake each other; with ParkKey order holds only behind a parked key),
// counting tries and giving up after many: set MaxAttempts for that.
package inboxhttp
