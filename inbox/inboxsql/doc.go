// Package inboxsql keeps the inbox in Postgres by database/sql, with whichever driver the program has: lib/pq and pgx's stdlib are
// tested.
//
//	db, _ := sql.Open("postgres", url)
//	_ = inboxsql.Migrate(ctx, db, inboxsql.MigrateOptions{})
//	store := inboxsql.New(db)
//	outcome, err := inbox.Process(ctx, store, "billing", m, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error { ... })
//
// Promises: those of package inbox. A transaction is rolled back as soon as its context ends.
//
// Not done here: LISTEN, which database/sql has no way to; Wait waits for its time. The driver's errors must have a method
// SQLState() string, as those of lib/pq and pgx do.
package inboxsql
