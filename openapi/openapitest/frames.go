package openapitest

import (
	"bytes"
	"encoding/json"
	"strings"
)

// frames takes an event stream apart and checks each frame against the schema of its event.
type frames struct {
	*checker
	rest  []byte // of a frame that is not complete
	begun bool
}

// take adds what came next.
func (f *frames) take(p []byte) {
	f.rest = append(f.rest, p...)
	for {
		frame, rest, whole := bytes.Cut(f.rest, []byte("\n\n"))
		if !whole {
			return
		}
		f.frame(string(frame))
		f.rest = rest
	}
}

func (f *frames) frame(text string) {
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, ok := strings.Cut(line, ": ")
		if _, twice := fields[name]; !ok || twice || strings.ContainsRune(line, '\r') || !strings.Contains(" id event data retry ", " "+name+" ") {
			f.errorf("stream: the line %q has no place in the frame\n%s", line, text)
			return
		}
		fields[name] = value
	}
	first := !f.begun
	f.begun = true
	if _, retry := fields["retry"]; retry != first && first {
		f.errorf("stream: the first frame is not retry:\n%s", text)
	}
	if _, ok := fields["retry"]; ok && len(fields) == 1 {
		return
	}
	f.event(fields, text)
}

// event checks a frame that is an event.
func (f *frames) event(fields map[string]string, text string) {
	target, ok := f.Components.Schemas["StreamEvent"].Value.Discriminator.Mapping[fields["event"]]
	if !ok {
		f.errorf("stream: the event %q is not described\n%s", fields["event"], text)
		return
	}
	name := target.Ref[strings.LastIndexByte(target.Ref, '/')+1:]
	var data any
	if err := json.Unmarshal([]byte(fields["data"]), &data); err != nil {
		f.errorf("stream: the data is not JSON: %v\n%s", err, text)
		return
	}
	value := map[string]any{"event": fields["event"], "data": data}
	if id, ok := fields["id"]; ok {
		value["id"] = id
	}
	if err := f.fits(name, value); err != nil {
		f.errorf("stream: %v\n%s", err, text)
	}
}
