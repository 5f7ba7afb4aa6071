// Package testenv gives a test real servers, faults between them, and ways to wait without sleeping.
//
//	pg := testenv.Postgres(t)                  fresh database in a server that all tests share; Postgres(t, "17") another version
//	srv := testenv.StartPostgres(t, "15", nil) server of one's own: Kill9, Stop, Start, Restart, Freeze, Thaw; srv.Database(t)
//	k := testenv.Kafka(t)                      shared one-broker Kafka; k.Topic(t, partitions), k.Brokers()
//	k := testenv.StartKafka(t, 3)              cluster of one's own: Kill, Stop (freeze), Cont, Start
//	p := testenv.Proxy(t, "127.0.0.1:5432")    TCP in between: Latency, Pause, Resume, Cut, CloseAll, Target
//	testenv.Eventually(t, 5*time.Second, func() error { ... })
//	records := testenv.Consume(t, k.Brokers(), 10, topic)
//
// What it promises: names (databases, roles, slots, topics) are unique in the whole server, and what a test made is gone
// when it ends, walsenders and slots first. Shared servers are started once, by whichever process comes first, and stay up
// for the next one; `go run ./internal/testenv/cmd/testenv down` ends them. A server whose test was killed is ended by
// the next test that starts one.
//
// A part that cannot be had (no JDK for Kafka, no way to download) skips the test by name; CDC_RELAY_TEST_REQUIRE=all
// makes that a failure. Environment:
//
//	CDC_RELAY_TEST_DATABASE_URL  superuser's URL of a running Postgres, used in place of the shared one (default version)
//	CDC_RELAY_TEST_POSTGRES      major version where a test names none; default 15
//	CDC_RELAY_TEST_KAFKA         brokers of a running Kafka, used in place of the shared one
//	KAFKA_VERSION                of the Kafka that is started; default 4.3.1
//	CDC_RELAY_CACHE              where downloads and servers live
//
// It does not build or run the relay.
package testenv
