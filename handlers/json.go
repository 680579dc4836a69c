package handlers

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json"

	"parley/model"
)

// maxBody bounds every body but messages and files.
const maxBody = 1 << 20

const (
	mediaJSON       = "application/json"
	mediaMergePatch = "application/merge-patch+json"
)

// decode reads the body of a request into dst, strictly as API.md section 1 says. It
// fails with invalid_request, which names the field, unsupported_media_type and, over
// most bytes, tooLarge. A null is the same as leaving the field out, except where dst
// has a jsontext.Value.
func decode(r *http.Request, dst any, most int64, tooLarge model.Code) error {
	body, err := readBody(r, most, tooLarge, mediaJSON)
	if err != nil {
		return err
	}
	return unmarshal(body, dst)
}

// decodeOptional is decode for a body whose fields are all optional: there may be none.
func decodeOptional(r *http.Request, dst any, most int64, tooLarge model.Code) error {
	body, err := readBody(r, most, tooLarge, mediaJSON)
	if err != nil || len(body) == 0 {
		return err
	}
	return unmarshal(body, dst)
}

// decodePatch is decode for a JSON merge patch.
func decodePatch(r *http.Request, dst any, most int64, tooLarge model.Code) error {
	body, err := readBody(r, most, tooLarge, mediaJSON, mediaMergePatch)
	if err != nil {
		return err
	}
	return unmarshal(body, dst)
}

// readBody reads the whole body. The media type is looked at only when there is one.
func readBody(r *http.Request, most int64, tooLarge model.Code, media ...string) ([]byte, error) {
	if r.ContentLength > most {
		return nil, errTooLarge(tooLarge, most)
	}
	body, err := readUpTo(r, most)
	if err != nil {
		return nil, model.Invalid("body", "could not be read to its end")
	}
	if int64(len(body)) > most {
		return nil, errTooLarge(tooLarge, most)
	}
	if len(body) == 0 {
		return nil, nil
	}
	is := r.Header.Get("Content-Type")
	if is != mediaJSON { // nearly always it is
		is, _, err = mime.ParseMediaType(is)
	}
	if err != nil || !slices.Contains(media, is) {
		return nil, model.NewError(model.UnsupportedMediaType, "the body must come with Content-Type: %s", media[0])
	}
	return body, nil
}

// readUpTo reads the body, or a little more than most bytes of it.
func readUpTo(r *http.Request, most int64) ([]byte, error) {
	if n := r.ContentLength; n >= 0 {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(r.Body, most+1))
}

func errTooLarge(code model.Code, most int64) error {
	return model.NewError(code, "the body may be %d bytes", most)
}

// unmarshal reads one JSON object into dst.
func unmarshal(body []byte, dst any) error {
	// Fields of ours are flat; what a client makes up lies one deeper than the body itself.
	if err := model.CheckJSON("", body, model.MaxNesting+1); err != nil {
		return err
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); trimmed[0] != '{' {
		return model.Invalid("body", "must be an object")
	}
	err := json.Unmarshal(body, dst, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &semantic):
		return model.InvalidJSON("", err)
	case errors.Is(err, json.ErrUnknownName):
		return model.Invalid(model.FieldAt("", semantic.JSONPointer), "is not known here")
	}
	return model.Invalid(model.FieldAt("", semantic.JSONPointer), "must be %s", describe(semantic))
}

// describe names the type that a field should have had.
func describe(e *json.SemanticError) string {
	if e.GoType == nil {
		return "of another type"
	}
	t := e.GoType
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer within bounds"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	}
	return "an object"
}

// appender is what writes itself faster than reflection would.
type appender interface {
	AppendJSON(b []byte) []byte
}

// list is one page of a list.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"` // the cursor of the page behind it; null on the last
}

// appendJSON appends the page.
func (l *list[T]) appendJSON(b []byte) ([]byte, error) {
	b = append(b, `{"items":[`...)
	for i := range l.Items {
		if i > 0 {
			b = append(b, ',')
		}
		if a, ok := any(l.Items[i]).(appender); ok {
			b = a.AppendJSON(b)
			continue
		}
		item, err := model.OneLine(l.Items[i])
		if err != nil {
			return nil, err
		}
		b = append(b, item...)
	}
	b = append(b, `],"next":`...)
	if l.Next == nil {
		return append(b, "null}"...), nil
	}
	b = model.AppendJSONString(b, *l.Next)
	return append(b, '}'), nil
}

// MarshalJSON writes the page.
func (l *list[T]) MarshalJSON() ([]byte, error) {
	return l.appendJSON(make([]byte, 0, 512*(1+len(l.Items))))
}

// encode answers v as JSON. It is made before the header goes out, so that a failure can still be answered.
func encode(w http.ResponseWriter, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the client has gone
	return nil
}

func marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case appender:
		return v.AppendJSON(make([]byte, 0, 1024)), nil
	case stdjson.Marshaler: // ours, and valid: no need to go through it again
		return v.MarshalJSON()
	}
	return model.OneLine(v)
}

// noContent answers that there is nothing to say.
func noContent(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
