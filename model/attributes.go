package model

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// NewAttributes brings a JSON object that CheckJSON accepts into the form in
// which attributes are kept: compact, otherwise as sent. Nil and null are the empty
// object. Anything else, and what is too large, is an invalid_request.
func NewAttributes(raw []byte) ([]byte, error) {
	v := jsontext.Value(bytes.Clone(raw))
	if len(v) == 0 || v.Kind() == 'n' {
		return []byte("{}"), nil
	}
	if v.Kind() != '{' {
		return nil, Invalid("attributes", "must be an object")
	}
	if err := v.Compact(); err != nil {
		return nil, InvalidJSON("attributes", err)
	}
	if len(v) > MaxAttributesBytes {
		return nil, errAttributesSize()
	}
	return v, nil
}

// PatchAttributes applies a JSON merge patch (RFC 7396) to stored attributes.
// changed is false when the result means the same. A null patch empties them. The
// patch must be JSON that CheckJSON accepts.
func PatchAttributes(stored, patch []byte) (patched []byte, changed bool, err error) {
	switch jsontext.Value(patch).Kind() {
	case '{':
		patched, err = mergePatch(stored, patch)
	case 'n':
		patched = []byte("{}")
	default:
		err = Invalid("attributes", "must be an object, or null to empty it")
	}
	if err != nil {
		return nil, false, err
	}
	if sameJSON(stored, patched) {
		return stored, false, nil
	}
	if len(patched) > MaxAttributesBytes {
		return nil, false, errAttributesSize()
	}
	return patched, true, nil
}

func errAttributesSize() *Error {
	return Invalid("attributes", "must be at most %d bytes of compact JSON", MaxAttributesBytes)
}

type jsonMember struct {
	name  string
	value jsontext.Value
}

// mergePatch keeps the order and the spelling of what it does not touch. The result is compact.
func mergePatch(target, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		v := patch.Clone()
		err := v.Compact()
		return v, err
	}
	changes, err := jsonMembers(patch)
	if err != nil {
		return nil, err
	}
	var members []jsonMember
	if target.Kind() == '{' {
		if members, err = jsonMembers(target); err != nil {
			return nil, err
		}
	}
	place := make(map[string]int, len(members))
	for i, m := range members {
		place[m.name] = i
	}
	for _, change := range changes {
		i, has := place[change.name]
		switch {
		case change.value.Kind() == 'n' && has:
			members[i].value = nil
		case change.value.Kind() == 'n':
		case has:
			members[i].value, err = mergePatch(members[i].value, change.value)
		default:
			change.value, err = mergePatch(nil, change.value)
			members = append(members, change)
		}
		if err != nil {
			return nil, err
		}
	}
	return joinMembers(members), nil
}

// joinMembers writes an object of those that have a value.
func joinMembers(members []jsonMember) jsontext.Value {
	b := []byte{'{'}
	for _, m := range members {
		if m.value == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = AppendJSONString(b, m.name)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

func jsonMembers(object jsontext.Value) ([]jsonMember, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(object))
	if _, err := d.ReadToken(); err != nil { // the brace
		return nil, err
	}
	var members []jsonMember
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		m := jsonMember{name: name.String()}
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m.value = value.Clone()
		members = append(members, m)
	}
	_, err := d.ReadToken() // the other brace, or what stands in its place
	return members, err
}

// sameJSON reports whether two values mean the same: the order of names, white space and the spelling of numbers aside.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, y := jsontext.Value(bytes.Clone(a)), jsontext.Value(bytes.Clone(b))
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}
