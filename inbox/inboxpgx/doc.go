// Package inboxpgx keeps the inbox in Postgres by pgx.
//
//	pool, _ := pgxpool.New(ctx, url)
//	_ = inboxpgx.Migrate(ctx, pool, inboxpgx.MigrateOptions{})
//	store := inboxpgx.New(pool)
//	outcome, err := inbox.Process(ctx, store, "billing", m, func(ctx context.Context, tx pgx.Tx, m *inbox.Message) error { ... })
//
// Promises: those of package inbox. A transaction whose context ends loses its connection at once: what an abandoned handler has
// locked is free again.
//
// Through a pooler in transaction mode (PgBouncer) everything works but Wait, which then returns at its time-out; set pgx's
// default_query_exec_mode to exec or cache_describe there.
//
// Not done here: making pools. A pool needs a connection for each message in the making, and one for Wait.
package inboxpgx
