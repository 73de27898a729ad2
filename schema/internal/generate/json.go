package main

import (
	"bytes"
	"encoding/json"
)

// object is a JSON object that keeps its order, so that editors list properties as the structs do.
type object []member

type member struct {
	key   string
	value any
}

func (o *object) set(key string, value any) { *o = append(*o, member{key, value}) }

func (o object) get(key string) any {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

func (o object) keys() []string {
	keys := make([]string, len(o))
	for i, m := range o {
		keys[i] = m.key
	}
	return keys
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(plain(m.key))
		b.WriteByte(':')
		b.Write(plain(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plain is JSON without escapes for <, > and &.
func plain(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a value that the generator itself has made
	}
	return bytes.TrimSpace(b.Bytes())
}

func encode(o object) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, plain(o), "", "  "); err != nil {
		panic(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}
