// Package jsontext reads and writes the little JSON that records need, without allocating:
//
//	Scanner          the members of one object, in the order of the text, each value as it stands
//	AppendUnescaped  what the inside of a string stands for
//	AppendQuoted     text as a string, escaped as Jackson does it
//	Valid            whether text is JSON
//
// It promises to take what encoding/json takes and to refuse what that refuses, but for text that is not UTF-8, which it
// hands on as it is. It does not build values, and it knows no numbers.
package jsontext
