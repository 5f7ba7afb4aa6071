// Command saga runs three services that sell things (package services: that is the code to read), and judges them: Postgres with
// a database for each, a broker, a relay for each database, customers, and, where asked, bad luck.
//
//	customers --HTTP--> order ──┐                       ┌── payment
//	                    │ ▲   outbox ─▶ relay ─▶ broker │  shipping
//	                    │ └──────────── inbox ◀─────────┴───────┘
//	                    └── each with a database of its own; the audit reads all three at the end
//
//	saga                                                   until Ctrl-C; a table of sagas and their steps
//	saga --for 20s --fail payment=20% --kill -o json       one JSON object on stdout
//	saga --for 20s --crash                                 each service kills itself in each of its steps
//
// The services run as processes of their own (this program again), so that they can be killed.
//
// Exit code 0: every saga ended, completed or compensated, and each effect is in the databases once; 1: not, or something did
// not run; 2: usage. What it starts is embedded: it shows the path and proves nothing about Kafka.
package main
