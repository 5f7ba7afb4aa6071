// Package services holds the three services of the saga, each with a database of its own. They talk through outbox, relay and
// inbox alone. All of it can be read in ten minutes, in this order:
//
//	saga.go      the plan, the events, and how a service is started
//	order.go     the conductor: takes orders, asks for one step after the other, and takes them back when one fails
//	payment.go   charge, refund
//	shipping.go  reserve, release; dispatch, recall
//
//	              reserve.do    charge.do    dispatch.do               completed
//	order    ────────┬────▲───────┬────▲────────┬────▲───────────────▶
//	                 ▼    │       ▼    │        ▼    │ refused, or no answer in time
//	              shipping      payment       shipping
//
//	              dispatch.undo  charge.undo  reserve.undo             compensated
//	         ─── back: what may have been done, the last one first ──▶
//
// Topics: orders carries what order asks for; payments and shipments carry the answers. The key is the order's id.
//
// What the services rely on, and need no code of their own for:
//
//  1. A step's effect and its answer are one transaction: the handler's, with the claim of the question.
//  2. A question that is delivered again finds the claim. No handler here asks whether it was here before.
//  3. "undo" stands behind "do" in the same topic, under the same key, and so never arrives before it. Taking back a step of which
//     nobody knows whether it was done needs no more than a look into one's own table.
//
// Only public packages are imported: copy what you need.
package services
