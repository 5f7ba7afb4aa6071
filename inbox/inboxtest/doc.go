// Package inboxtest is for tests of consumers: an inbox in memory, a broker in memory, and both can be made to fail at named
// points. A test needs no database and no Kafka for it.
//
//	store := inboxtest.New()
//	broker := inboxtest.NewBroker("orders", 3)
//	p, _ := inbox.NewProcessor(store, "billing", handler, inbox.Options{})
//	broker.Send("o-1", "OrderCreated", []byte(`{}`))
//	store.CrashAt(inboxtest.BeforeCommit)      // the process dies once, just there
//	_ = inboxtest.Deliver(ctx, broker, p)      // ErrCrashed
//	store.Restart()
//	_ = inboxtest.Deliver(ctx, broker, p)      // delivered again: exactly one effect
//
// RunStore is what every inbox.Store must keep; the project's own stores run it, and so may yours.
//
// Promises: transactions of the store in memory run one after another, so a copy waits for the first as in Postgres; what is not
// committed is gone after a crash.
//
// Not done here: time. Nothing is ever older than the retention.
package inboxtest
