package sse

import (
	"encoding/json"
	"strconv"

	"parley/model"
)

// Frame is one event as it goes over the wire. The same bytes go to every
// receiver, so a Frame is never changed once made.
type Frame struct {
	// Position is the place in the log up to which a stream that has written the
	// frame has written everything; 0 for what never touches the log.
	Position int64
	Bytes    []byte
	Shed     model.Shed
	// Receiver is the client who owes its sender a receipt; empty: nobody does.
	Receiver string
}

// frame renders an event. data must be JSON on one line and name a constant of
// ours, so that neither can break out of its field.
func frame(log, name string, position int64, withID bool, data []byte) *Frame {
	b := make([]byte, 0, len(data)+len(name)+len(log)+48)
	if withID {
		b = append(b, "id: "...)
		b = append(b, log...)
		b = append(b, '-')
		b = strconv.AppendInt(b, position, 10)
		b = append(b, '\n')
	}
	b = append(b, "event: "...)
	b = append(b, name...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	b = append(b, "\n\n"...)
	return &Frame{Position: position, Bytes: b}
}

// Durable renders an event of the log; nil when there is nothing to show to clients.
func (h *Hub) durable(e *model.Event) *Frame {
	name := e.Kind.Name()
	if name == "" || e.Data == nil {
		return nil
	}
	f := frame(h.name, name, e.Position, true, e.Data)
	f.Shed = e.Shed
	if e.Kind == model.EventMessage && e.Audience == model.ToMembers && len(e.Clients) == 1 {
		f.Receiver = e.Clients[0]
	}
	return f
}

// Ephemeral renders an event that is no part of the log and has no id.
func Ephemeral(name string, data any) *Frame {
	b, err := json.Marshal(data)
	if err != nil {
		panic("sse: an event that cannot be encoded: " + err.Error()) // data are types of ours
	}
	return frame("", name, 0, false, b)
}

// Placed renders an event that is no part of the log but carries a position as its id: ready, reset.
func (h *Hub) Placed(name string, position int64, data any) *Frame {
	b, err := json.Marshal(data)
	if err != nil {
		panic("sse: an event that cannot be encoded: " + err.Error())
	}
	return frame(h.name, name, position, true, b)
}

// Retry tells the client how many milliseconds to wait before it reconnects.
func Retry(milliseconds int) *Frame {
	return &Frame{Bytes: []byte("retry: " + strconv.Itoa(milliseconds) + "\n\n")}
}

// EphemeralJSON is Ephemeral for data that is JSON on one line already.
func EphemeralJSON(name string, data []byte) *Frame { return frame("", name, 0, false, data) }
