package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (f Field) enumerate(p *string) error {
	if f.Enum == nil {
		return nil
	}
	word := strings.ToLower(*p)
	switch { // YAML turns a bare on into true, and -1 is Kafka's own word for all
	case word == "true" && slices.Contains(f.Enum, "on"):
		word = "on"
	case word == "false" && slices.Contains(f.Enum, "off"):
		word = "off"
	case word == "-1" && slices.Contains(f.Enum, "all"):
		word = "all"
	}
	if !slices.Contains(f.Enum, word) {
		hint := ""
		if near := guess(word, f.Enum); near != "" {
			hint = fmt.Sprintf(" (did you mean %q?)", near)
		}
		return fmt.Errorf("%q is none of %s%s", *p, strings.Join(f.Enum, ", "), hint)
	}
	*p = word
	return nil
}

func (f Field) durationRule(ptr any) error {
	if p, is := ptr.(*time.Duration); is {
		return between(*p, f.Min, f.Max, FormatDuration)
	}
	return nil
}

func between[T cmp.Ordered](v T, low, high any, text func(T) string) error {
	if low != nil && v < low.(T) || high != nil && v > high.(T) {
		return fmt.Errorf("%s is out of range; it goes from %s to %s", text(v), text(low.(T)), text(high.(T)))
	}
	return nil
}

// check looks at what the table cannot say: forms of names, and settings that depend on each other.
func (l *loader) check(sinkOptional bool) {
	l.checkDatabase()
	l.checkNames()
	for i := range l.cfg.Outbox {
		l.checkOutbox(i)
	}
	l.checkSink(sinkOptional)
	l.checkRest()
	for _, f := range l.fields {
		if f.Later != "" && f.DefaultText() != formatText(f.at(l.cfg, 0)) && !l.bad[f.Path] {
			l.wrong(f.Path, "not in this version: %s", f.Later)
		}
	}
}

// wrong reports a mistake at the place where the value was written; a value that is bad already is passed over.
func (l *loader) wrong(path, format string, args ...any) {
	if l.bad[path] {
		return
	}
	l.mistake(l.cfg.origins[path], path, format, args...)
}

func (l *loader) checkDatabase() {
	for path, s := range map[string]Secret{"database.url": l.cfg.Database.URL, "migrate.url": l.cfg.Migrate.URL, "inbox.url": l.cfg.Inbox.URL} {
		if s.value != "" {
			l.checkDSN(path, s.value)
		}
	}
	for i, dsn := range l.cfg.Database.StandbyURLs {
		path := fmt.Sprintf("database.standby_urls[%d]", i)
		l.inherit(path, "database.standby_urls")
		l.checkDSN(path, dsn)
		if MaskURL(dsn) != dsn {
			l.wrong(path, "holds a password, which would be shown; leave it to database.password_file or libpq's environment")
		}
	}
}

// inherit gives an item of a list the origin of the list where it has none of its own (environment, flags).
func (l *loader) inherit(item, list string) {
	if o := l.cfg.origins[list]; l.cfg.origins[item].Layer < o.Layer {
		l.cfg.origins[item] = o
	}
	if l.bad[list] {
		l.bad[item] = true
	}
}

func (l *loader) checkDSN(path, dsn string) {
	scheme, _, isURL := strings.Cut(dsn, "://")
	switch {
	case !isURL && !strings.Contains(dsn, "="):
		l.wrong(path, "is neither a URL (postgres://user@host:5432/db) nor a keyword string (host=... user=... dbname=...)")
	case isURL && scheme != "postgres" && scheme != "postgresql":
		l.wrong(path, "has the scheme %s; write postgres://user@host:5432/db", scheme)
	case isURL:
		if _, err := url.Parse(dsn); err != nil { // its text would show the password
			l.wrong(path, "is no valid URL; a password with special characters has to be escaped (%%40 for @), or goes into database.password_file")
		}
	}
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func (l *loader) checkNames() {
	for path, name := range map[string]string{"replication.slot": l.cfg.Replication.Slot, "replication.publication": l.cfg.Replication.Publication} {
		if !slotName.MatchString(name) {
			l.wrong(path, "%q is no valid name; use 1 to 63 lower case letters, digits and _", name)
			continue
		}
		if suffix := "_" + strconv.Itoa(l.cfg.Shards-1); l.cfg.Shards > 1 && len(name)+len(suffix) > 63 {
			l.wrong(path, "%q is too long for %d shards; 63 letters have to hold the suffix %s too", name, l.cfg.Shards, suffix)
		}
	}
}

// Dots divide, and quotes are most likely meant as SQL's: neither may stand inside a name.
var tableName = regexp.MustCompile(`^(?:([^."\x00-\x20]{1,63})\.)?([^."\x00-\x20]{1,63})$`)

// SplitTable cuts a table's name into schema and table; the schema is public when none is written.
func SplitTable(name string) (schema, table string, ok bool) {
	m := tableName.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	if m[1] == "" {
		m[1] = "public"
	}
	return m[1], m[2], true
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

func (l *loader) checkOutbox(i int) {
	o := l.cfg.Outbox[i]
	prefix := fmt.Sprintf("outbox[%d].", i)
	if l.cfg.origins[prefix+"table"].Layer == LayerDefault && i > 0 {
		l.cfg.origins[prefix+"table"] = l.cfg.origins[fmt.Sprintf("outbox[%d]", i)]
	}
	if _, _, ok := SplitTable(o.Table); !ok {
		l.wrong(prefix+"table", "%q is no table; write schema.table as the catalog spells it, without quotes", o.Table)
	}
	for j := range i {
		if l.cfg.Outbox[j].Table == o.Table && !l.bad[fmt.Sprintf("outbox[%d].table", j)] {
			l.wrong(prefix+"table", "%s stands in outbox[%d] already", o.Table, j)
		}
	}
	names := []string{"aggregate_type", "aggregate_id", "event_type"}
	rule := strings.ReplaceAll(o.Topic, "${"+routedByValue+"}", "")
	for _, m := range placeholder.FindAllStringSubmatch(rule, -1) {
		if !slices.Contains(names, m[1]) {
			hint := ""
			if near := guess(m[1], names); near != "" {
				hint = fmt.Sprintf("did you mean {%s}? ", near)
			}
			l.wrong(prefix+"topic", "{%s} is no column of the rule; %sit knows {%s}", m[1], hint, strings.Join(names, "}, {"))
		}
	}
	rest := placeholder.ReplaceAllString(rule, "")
	switch {
	case o.Topic == "":
		l.wrong(prefix+"topic", "is empty; write a rule like %q", DefaultTopic)
	case strings.ContainsAny(rest, "{}"):
		l.wrong(prefix+"topic", "%q has an unpaired brace", o.Topic)
	case !topicText.MatchString(rest):
		l.wrong(prefix+"topic", "%q has letters that Kafka refuses in a topic; use a-z, A-Z, 0-9, '.', '_' and '-'", o.Topic)
	}
	for j, topic := range o.TopicsAllowed {
		path := fmt.Sprintf("%stopics_allowed[%d]", prefix, j)
		l.inherit(path, prefix+"topics_allowed")
		if topic == "" || len(topic) > 249 || !topicText.MatchString(topic) {
			l.wrong(path, "%q is no topic; use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'", topic)
		}
	}
}

var topicText = regexp.MustCompile(`^[a-zA-Z0-9._-]*$`)

func (l *loader) checkSink(optional bool) {
	kinds := make([]string, 0, len(l.sinks))
	for kind := range l.sinks {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	chosen := strings.Join(kinds, ", ")
	switch {
	case len(kinds) > 1:
		for _, kind := range kinds {
			l.wrong("sink."+kind, "one of several sinks (%s); keep exactly one", chosen)
		}
	case len(kinds) == 0 && !optional && !l.badBelow("sink"):
		o, written := l.cfg.origins["sink"]
		if !written {
			o = l.cfg.origins[""]
		}
		l.mistake(o, "sink", "no sink is configured; write exactly one, like sink: {kafka: {brokers: [\"localhost:9092\"]}} or sink: {stdout: {}}")
	}
	if _, on := l.sinks[SinkKafka]; on {
		l.checkKafka()
	}
	if origin, on := l.sinks[SinkFile]; on && l.cfg.Sink.File.Path == "" && !l.bad["sink.file.path"] {
		l.mistake(origin, "sink.file.path", "is required: the file to append events to")
	}
}

func (l *loader) badBelow(path string) bool {
	for bad := range l.bad {
		if bad == path || strings.HasPrefix(bad, path+".") {
			return true
		}
	}
	return false
}

// needs reports that a setting is missing, at the place of what makes it necessary.
func (l *loader) needs(set bool, path string, because string, o Origin) {
	if !set && !l.bad[path] && !l.bad[path+"_file"] {
		l.mistake(o, path, "is required %s", because)
	}
}

func (l *loader) checkKafka() {
	k, chosen := l.cfg.Sink.Kafka, l.sinks[SinkKafka]
	l.needs(len(k.Brokers) > 0, "sink.kafka.brokers", "with sink.kafka: host:port of at least one broker", chosen)
	for i, broker := range k.Brokers {
		path := fmt.Sprintf("sink.kafka.brokers[%d]", i)
		l.inherit(path, "sink.kafka.brokers")
		if problem := address(broker, "9092", false); problem != "" {
			l.wrong(path, "%s", problem)
		}
	}
	if k.Acks != "all" && !k.UnsafeAcks {
		l.wrong("sink.kafka.acks", "%s can lose events when a broker dies; keep all, or write sink.kafka.unsafe_acks: true beside it", k.Acks)
	}
	if k.BatchBytes > l.cfg.Limits.MaxInFlightBytes && !l.bad["limits.max_in_flight_bytes"] {
		l.wrong("sink.kafka.batch_bytes", "%s is more than limits.max_in_flight_bytes (%s)", k.BatchBytes, l.cfg.Limits.MaxInFlightBytes)
	}
	t := k.TLS
	for path, set := range map[string]string{"ca_file": t.CAFile, "cert_file": t.CertFile, "key_file": t.KeyFile, "server_name": t.ServerName} {
		if set != "" && !t.Enabled {
			l.wrong("sink.kafka.tls."+path, "is set, but TLS is off; write sink.kafka.tls.enabled: true")
		}
	}
	l.needs(t.CertFile == "" || t.KeyFile != "", "sink.kafka.tls.key_file", "with cert_file", l.cfg.origins["sink.kafka.tls.cert_file"])
	l.needs(t.KeyFile == "" || t.CertFile != "", "sink.kafka.tls.cert_file", "with key_file", l.cfg.origins["sink.kafka.tls.key_file"])
	l.checkSASL(k.SASL)
}

func (l *loader) checkSASL(s SASL) {
	const path = "sink.kafka.sasl."
	at := l.cfg.origins[path+"mechanism"]
	if l.bad[path+"mechanism"] {
		return
	}
	switch s.Mechanism {
	case "plain", "scram-sha-256", "scram-sha-512":
		l.needs(s.Username != "", path+"username", "with "+s.Mechanism, at)
		l.needs(s.Password.IsSet(), path+"password", "with "+s.Mechanism+", or password_file", at)
	case "oauthbearer":
		if s.TokenURL == "" {
			l.needs(s.Token.IsSet(), path+"token", "with oauthbearer: token_file, or token_url with client_id and client_secret_file", at)
			return
		}
		if u, err := url.Parse(s.TokenURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			l.wrong(path+"token_url", "%q is no http or https address", s.TokenURL)
		}
		if s.Token.IsSet() {
			l.wrong(path+"token_url", "a token is set too; keep one of them")
		}
		l.needs(s.ClientID != "", path+"client_id", "with token_url", l.cfg.origins[path+"token_url"])
		l.needs(s.ClientSecret.IsSet(), path+"client_secret", "with token_url, or client_secret_file", l.cfg.origins[path+"token_url"])
	case "off":
		for _, name := range []string{"username", "password", "password_file", "token", "token_file", "token_url"} {
			if _, set := l.cfg.origins[path+name]; set {
				l.wrong(path+name, "is set, but sink.kafka.sasl.mechanism is off; name a mechanism")
			}
		}
	}
}

func (l *loader) checkRest() {
	if problem := address(l.cfg.Admin.Listen, "9630", true); problem != "" {
		l.wrong("admin.listen", "%s", problem)
	}
	t := l.cfg.Admin.TLS
	enabled := l.cfg.origins["admin.tls.enabled"]
	l.needs(!t.Enabled || t.CertFile != "", "admin.tls.cert_file", "with admin.tls.enabled", enabled)
	l.needs(!t.Enabled || t.KeyFile != "", "admin.tls.key_file", "with admin.tls.enabled", enabled)
	for path, set := range map[string]string{"admin.tls.cert_file": t.CertFile, "admin.tls.key_file": t.KeyFile} {
		if set != "" && !t.Enabled {
			l.wrong(path, "is set, but TLS is off; write admin.tls.enabled: true")
		}
	}
	if keep := l.cfg.Retention.Keep; keep > 0 && keep < time.Hour {
		l.wrong("retention.keep", "%s is less than an hour; partitions are days: write 24h or more, or 0 to keep all", FormatDuration(keep))
	}
}

// address says what is wrong with host:port; a listener's host may be empty.
func address(text, port string, listener bool) string {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		if !strings.Contains(text, ":") && text != "" {
			return fmt.Sprintf("%q has no port; write %s:%s", text, text, port)
		}
		return fmt.Sprintf("%q is no host:port", text)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 65535 || n == 0 && !listener {
		return fmt.Sprintf("%q has no valid port", text)
	}
	if host == "" && !listener || strings.Contains(host, "/") || strings.Contains(host, "@") {
		return fmt.Sprintf("%q has no host", text)
	}
	return ""
}
