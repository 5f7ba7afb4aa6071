// Package reference turns the table of settings into everything that people and editors read about them:
//
//	Schema    JSON schema for editors and pipelines      cdc-relay config schema
//	Sample    a commented file to start from             cdc-relay config init
//	Env       environment variables                      cdc-relay config env
//	ShowYAML  the effective values with their origins    cdc-relay config show
//	Markdown  docs/configuration.md                      cdc-relay docs markdown
//
// All of it is a pure function of package config's table and values; nothing here knows a setting by name, except which
// ones the sample writes out.
package reference
