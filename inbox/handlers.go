package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// JSON makes a Handler of a function that takes the payload as a V. A payload that is no V is Permanent; so is a null payload,
// unless V is a pointer, map, slice or interface, which is nil then.
//
//	inbox.JSON(func(ctx context.Context, tx pgx.Tx, m *inbox.Message, e OrderCreated) error { ... })
func JSON[V, T any](f func(ctx context.Context, tx T, m *Message, v V) error) Handler[T] {
	return func(ctx context.Context, tx T, m *Message) error {
		var v V
		data := m.Data()
		if data == nil {
			switch reflect.TypeFor[V]().Kind() {
			case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			default:
				return Permanent(errors.New("decode payload: it is null"))
			}
		} else if err := json.Unmarshal(data, &v); err != nil {
			return Permanent(fmt.Errorf("decode payload: %w", err))
		}
		return f(ctx, tx, m, v)
	}
}

// Mux gives each message to the handler of its type. It is filled before it is used. Types without a handler are skipped (a topic
// carries more types than one consumer wants), unless Default says otherwise.
type Mux[T any] struct {
	handlers map[string]Handler[T]
	other    Handler[T]
}

// NewMux returns an empty Mux.
func NewMux[T any]() *Mux[T] { return &Mux[T]{handlers: map[string]Handler[T]{}} }

// Handle sets the handler of an event type, and returns the Mux. It panics when the type has one, or h is nil.
func (x *Mux[T]) Handle(eventType string, h Handler[T]) *Mux[T] {
	if h == nil || x.handlers[eventType] != nil {
		panic(fmt.Sprintf("inbox: handler of event type %q is nil, or set twice", eventType))
	}
	x.handlers[eventType] = h
	return x
}

// Default sets the handler of all other types, and returns the Mux.
func (x *Mux[T]) Default(h Handler[T]) *Mux[T] {
	x.other = h
	return x
}

// Handler returns the Mux as a Handler.
func (x *Mux[T]) Handler() Handler[T] {
	return func(ctx context.Context, tx T, m *Message) error {
		if h := x.handlers[m.Type]; h != nil {
			return h(ctx, tx, m)
		}
		if x.other != nil {
			return x.other(ctx, tx, m)
		}
		return Skip(fmt.Sprintf("no handler for type %q", m.Type))
	}
}
