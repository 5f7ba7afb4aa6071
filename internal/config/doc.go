// Package config reads what a person wrote about the relay and either returns a complete [Config] or every mistake in it
// at once.
//
// Four layers, each stronger than the one before:
//
//	built-in defaults < one YAML file < environment (CDC_RELAY_...) < flags (--set path=value)
//
// One table, [Fields], names each setting once: its path, type, default, bounds, documentation and the place in Config
// where it lands. Everything else is derived from it: environment names, the checks, and in package reference the JSON
// schema, the commented file, `config show` and docs/configuration.md.
//
// Promises:
//
//   - a mistake names its place: file:line:column, the environment variable, or the flag; unknown keys are mistakes and
//     come with a guess at the key that was meant;
//   - `${VAR}` and `${VAR:-default}` are expanded inside scalars of the file, after parsing, so that a value can never
//     change the structure; `$${` is a literal `${`;
//   - a [Secret] never prints itself, and its `_file` twin is read anew by each call of Read, so that a rotated password
//     needs no restart;
//   - the placeholder CHANGE-ME is refused wherever it stands.
//
// It opens no connection and reads no file but the configuration: whether a server, topic or key file exists is found by
// whoever uses it.
package config
