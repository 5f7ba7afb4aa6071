// Package admin serves health, metrics, status and actions over HTTP, for probes, Prometheus, operators and the verbs.
//
//	GET /livez              200 while every loop of ours has ticked lately; nothing outside counts
//	GET /readyz             200 while it does its work; ?verbose names each check
//	GET /metrics            Prometheus
//	GET /api/v1/status      what Source.Status returns, as JSON
//	...                     Handle adds reads without payloads, Protect adds what needs the token
//
// What is open: reads that show no payload. Everything else, writes and reads that show payloads, needs the bearer token,
// which is asked for again at each request; without one those answer 403. The default address is the loopback one.
//
// It promises that a slow or silent client holds nothing for long (each phase has a time limit), and that no goroutine of
// its own outlives Serve but that of a handler which goes on after its request's context has ended. It decides nothing: the checks, the status and the actions are the caller's, and it logs nothing
// but what net/http gives to Config.ErrorLog.
package admin
