// Package pgstore is the inbox's store in Postgres, for any driver: the schema, the SQL, and what the answers mean. inboxpgx and
// inboxsql bring the connections.
//
//	inboxpgx ──▶ Driver[pgx.Tx]  ┐
//	                             ├── Store[T]: claims, letters, places, marks, maintenance ──▶ schema cdc_inbox
//	inboxsql ──▶ Driver[*sql.Tx] ┘
//
// Promises: every statement is one round trip; arrays travel as text, so that each driver can send them; names are qualified, so
// that no search_path matters; each failure of one of these statements is an inbox.DatabaseError.
//
// Not done here: connecting, pools, transactions.
package pgstore
