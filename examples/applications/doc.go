// Command applications commits an order together with the event that says so. The other files here do the same in other
// languages, by the SQL function cdc_relay.emit:
//
//	main.go       Go, package outbox/outboxpgx
//	order.py      Python, psycopg
//	Order.java    Java, JDBC
//	order.mjs     Node, pg
//	trigger.sql   a trigger: the application inserts the order and nothing else
//
// docs/applications.md shows these files as they stand; the tests here run each of them. They need a migrated database (cdc-relay
// migrate up) with a table orders (id text PRIMARY KEY, total numeric), whose URL is in DATABASE_URL, or JDBC_URL.
package main
