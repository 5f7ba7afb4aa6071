package inboxhttp

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/inbox"
)

// Options of a handler.
type Options struct {
	// Topic of the messages, where the request names none by the header cdc-topic. Default "http". It is the source of ids that
	// are no UUIDs and come without one, and part of the name of parked keys.
	Topic string
	// MaxBytes is the largest body, in bytes. Default 1 MiB.
	MaxBytes int64
	// Attempts counts failed tries of a message, and MaxAttempts puts it aside as a dead letter when they are that many. Default: tries
	// are not counted, the sender decides when to give up. A store is an Attempts.
	Attempts    Attempts
	MaxAttempts int
	// Consumer is the consumer's name, for Attempts.
	Consumer string
	// OnError is told what was answered with 5xx. Default: nobody is.
	OnError func(*http.Request, error)
}

// Attempts is the part of inbox.Store that counts tries.
type Attempts interface {
	AddAttempts(ctx context.Context, consumer string, id inbox.UID, delta int) (int, error)
}

// Processor is what applies messages: an *inbox.Processor of any driver.
type Processor interface {
	Process(ctx context.Context, m *inbox.Message) (inbox.Outcome, error)
	DeadLetter(ctx context.Context, m *inbox.Message, reason string, cause error, attempts int) (inbox.Outcome, error)
}

// DefaultMaxBytes is that of Options.
const DefaultMaxBytes = 1 << 20

// New returns the handler.
func New(p Processor, o Options) http.Handler {
	if o.Topic == "" {
		o.Topic = "http"
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return &handler{p, o}
}

type handler struct {
	p Processor
	o Options
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "events are posted", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.o.MaxBytes))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		http.Error(w, "an event has at most "+strconv.FormatInt(h.o.MaxBytes, 10)+" bytes", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the body did not arrive", http.StatusBadRequest)
		return
	}
	m := h.message(r, body)
	outcome, err := h.p.Process(r.Context(), m)
	if err != nil {
		outcome, err = h.giveUp(r, m, err)
	}
	switch {
	case err != nil:
		h.fail(w, r, err)
	case outcome == inbox.DeadLettered, outcome == inbox.Parked:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// giveUp counts a try that failed by the message's own fault, and puts the message aside when there were too many.
func (h *handler) giveUp(r *http.Request, m *inbox.Message, cause error) (inbox.Outcome, error) {
	_, asked := inbox.RetryDelay(cause)
	if h.o.Attempts == nil || h.o.MaxAttempts < 1 || asked || inbox.IsInfrastructure(cause) || inbox.IsHalt(cause) {
		return inbox.Unfinished, cause
	}
	id, err := inbox.Identify(m, inbox.UsePosition)
	if err != nil {
		return inbox.Unfinished, cause
	}
	n, err := h.o.Attempts.AddAttempts(r.Context(), h.o.Consumer, id, 1)
	if err != nil || n < h.o.MaxAttempts {
		return inbox.Unfinished, errors.Join(cause, err)
	}
	m.Attempt = n
	return h.p.DeadLetter(r.Context(), m, "attempts", cause, n)
}

func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if h.o.OnError != nil {
		h.o.OnError(r, err)
	}
	code := http.StatusInternalServerError
	if d, ok := inbox.RetryDelay(err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(max(d, time.Second).Seconds()))))
		code = http.StatusServiceUnavailable
	} else if inbox.IsInfrastructure(err) || inbox.IsHalt(err) {
		code = http.StatusServiceUnavailable
	}
	http.Error(w, "the event was not processed; send it again", code) // the error itself may show what the sender must not see
}

// message makes a message of a request. Header names of HTTP are not case sensitive: they are read in lower case, ce-x as ce_x, and
// event-id, event-type as their names on Kafka, because proxies drop names with an underscore.
func (h *handler) message(r *http.Request, body []byte) *inbox.Message {
	m := &inbox.Message{Topic: h.o.Topic, Offset: -1, Value: body}
	if len(body) == 0 {
		m.Value = nil
	}
	for name, values := range r.Header {
		name = strings.ToLower(name)
		value := values[0]
		switch {
		case name == "cdc-topic":
			m.Topic = value
			continue
		case name == "cdc-key":
			m.Key = []byte(unescape(value))
			continue
		case name == "cdc-key-base64":
			if key, err := base64.StdEncoding.DecodeString(value); err == nil {
				m.Key = key
			}
			continue
		case strings.HasPrefix(name, "ce-"):
			name = "ce_" + name[3:]
			value = unescape(value) // the HTTP binding percent-encodes what is no plain ASCII
		case name == "event-id", name == "event-type", name == "aggregate-type", name == "aggregate-id":
			name = strings.ReplaceAll(name, "-", "_")
		}
		m.Headers = append(m.Headers, inbox.Header{Key: name, Value: []byte(value)})
		if name == "ce_time" {
			m.Time, _ = time.Parse(time.RFC3339Nano, value)
		}
	}
	for _, name := range []string{"ce_partitionkey", "aggregate_id"} {
		if key, ok := m.Header(name); ok && m.Key == nil {
			m.Key = key
		}
	}
	return m
}

func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}
