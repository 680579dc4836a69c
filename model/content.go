package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what a sender chooses.
const (
	MaxMentions       = 20
	MaxIdempotencyKey = 128 // bytes
)

// Priority is what a chatroom sheds first when a reader cannot keep up.
type Priority int8

// The priorities; the zero is what a message has unless it says otherwise.
const (
	PriorityNormal Priority = iota
	PriorityHigh
	PriorityLow
)

var priorityNames = map[Priority]string{PriorityNormal: "normal", PriorityHigh: "high", PriorityLow: "low"}

// Shed is what a priority means for a reader that cannot keep up.
func (p Priority) Shed() Shed {
	return map[Priority]Shed{PriorityNormal: ShedSecond, PriorityHigh: ShedNever, PriorityLow: ShedFirst}[p]
}

// ParsePriority reads a priority's name.
func ParsePriority(s string) (Priority, bool) { return byName(priorityNames, s) }

// File is what a message says of a file.
type File struct {
	ID       string   `json:"id,omitzero"`
	URL      string   `json:"url,omitzero"`
	Name     string   `json:"name,omitzero"`
	MimeType string   `json:"mimeType,omitzero"`
	Size     *int64   `json:"size,omitzero"`     // bytes
	Width    *int64   `json:"width,omitzero"`    // pixels
	Height   *int64   `json:"height,omitzero"`   // pixels
	Duration *float64 `json:"duration,omitzero"` // seconds
	Format   string   `json:"format,omitzero"`
}

// Location is a place on the earth, in degrees.
type Location struct {
	Latitude  *float64 `json:"latitude"`
	Longitude *float64 `json:"longitude"`
}

// Draft is a message as its sender wants it, decoded but not believed: see Validate.
type Draft struct {
	Type       MessageType
	CustomType int64 // 0: none
	Text       *string
	Attributes []byte // JSON object on one line; nil: none
	File       *File
	Location   *Location
	Data       []byte // any JSON on one line, as sent; nil: none

	MentionAll  bool
	MentionList []string // distinct once validated

	Transient bool
	Receipt   bool
	Will      bool
	NoSync    bool // not even for the sender's other sessions
	Priority  Priority
	PushData  []byte   // JSON object on one line, never shown to receivers; nil: none
	To        []string // receivers of a service's message; nil: none named

	Key    string // Idempotency-Key; empty: none
	Digest []byte // of the body that the key belongs to, see Digest; nil without a key
}

// Validate says what keeps d from being sent, by the table of API.md section 5,
// and drops what is said twice in its mention list. It fails with invalid_request.
func (d *Draft) Validate() error {
	if err := d.checkContent(); err != nil {
		return err
	}
	if err := d.checkMentions(); err != nil {
		return err
	}
	return d.checkOptions()
}

// use says whether a type needs a field, may have it or must not.
type use int8

const (
	no use = iota
	may
	needs
)

// uses is the table of API.md section 5, a line for each type.
var uses = map[MessageType]struct{ text, attributes, file, location, customType, data use }{
	TypeText:     {text: needs, attributes: may},
	TypeImage:    {text: may, attributes: may, file: needs},
	TypeAudio:    {text: may, attributes: may, file: needs},
	TypeVideo:    {text: may, attributes: may, file: needs},
	TypeFile:     {text: may, attributes: may, file: needs},
	TypeLocation: {text: may, attributes: may, location: needs},
	TypeCustom:   {text: may, attributes: may, file: may, location: may, customType: needs, data: may},
	TypeRaw:      {text: needs},
	TypeBinary:   {data: needs},
}

func (d *Draft) checkContent() error {
	u, ok := uses[d.Type]
	if !ok {
		return Invalid("type", "must be one of text, image, audio, video, location, file, custom, raw, binary")
	}
	for _, f := range [...]struct {
		name string
		use  use
		has  bool
	}{
		{"text", u.text, d.Text != nil},
		{"attributes", u.attributes, len(d.Attributes) > 0},
		{"file", u.file, d.File != nil},
		{"location", u.location, d.Location != nil},
		{"customType", u.customType, d.CustomType != 0},
		{"data", u.data, len(d.Data) > 0},
	} {
		switch {
		case f.use == needs && !f.has:
			return Invalid(f.name, "is needed in a message of type %s", typeNames[d.Type])
		case f.use == no && f.has:
			return Invalid(f.name, "has no place in a message of type %s", typeNames[d.Type])
		}
	}
	if d.CustomType < 0 {
		return Invalid("customType", "must be a positive integer")
	}
	if len(d.Attributes) > 0 && d.Attributes[0] != '{' {
		return Invalid("attributes", "must be an object")
	}
	if d.Type == TypeBinary && !base64String(d.Data) {
		return Invalid("data", "must be a string of base64 (RFC 4648 section 4), padded, on one line")
	}
	if err := d.File.check(); err != nil {
		return err
	}
	return d.Location.check()
}

// base64String reports whether raw is a JSON string of strict base64.
func base64String(raw []byte) bool {
	if len(raw) == 0 || raw[0] != '"' {
		return false
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	// The decoder forgives line breaks; we do not.
	if err != nil || bytes.ContainsAny(s, "\r\n") {
		return false
	}
	_, err = base64.StdEncoding.Strict().AppendDecode(nil, s)
	return err == nil
}

func (f *File) check() error {
	if f == nil {
		return nil
	}
	if f.ID != "" {
		return nil // what is known of it takes the place of what is said here
	}
	if _, _, relative, ok := FileOfURL(f.URL); ok && relative {
		return nil // as we gave it out, or so it says
	}
	u, err := url.Parse(f.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return Invalid("file.url", "must be an absolute http or https URL")
	}
	for _, n := range [...]struct {
		name  string
		value *int64
	}{{"size", f.Size}, {"width", f.Width}, {"height", f.Height}} {
		if n.value != nil && *n.value < 0 {
			return Invalid("file."+n.name, "must not be negative")
		}
	}
	if f.Duration != nil && !(*f.Duration >= 0 && !math.IsInf(*f.Duration, 0)) {
		return Invalid("file.duration", "must be a number of seconds, not negative")
	}
	return nil
}

func (l *Location) check() error {
	if l == nil {
		return nil
	}
	// Written so that NaN is out of range too.
	if l.Latitude == nil || !(math.Abs(*l.Latitude) <= 90) {
		return Invalid("location.latitude", "must be a number of degrees from -90 to 90")
	}
	if l.Longitude == nil || !(math.Abs(*l.Longitude) <= 180) {
		return Invalid("location.longitude", "must be a number of degrees from -180 to 180")
	}
	return nil
}

func (d *Draft) checkMentions() (err error) {
	if len(d.MentionList) > 0 {
		d.MentionList, err = CheckClients("mentionList", d.MentionList, 0, MaxMentions)
	}
	return err
}

func (d *Draft) checkOptions() error {
	if len(d.PushData) > 0 && d.PushData[0] != '{' {
		return Invalid("pushData", "must be an object")
	}
	if d.To != nil {
		var err error
		if d.To, err = CheckClients("to", d.To, 1, MaxReceivers); err != nil {
			return err
		}
	}
	if d.Key != "" && (d.Transient || d.Will) {
		return Invalid("Idempotency-Key", "has no use with transient and will, which store nothing")
	}
	return nil
}

// ValidIdempotencyKey reports whether key is 1 to 128 characters of visible ASCII.
func ValidIdempotencyKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= MaxIdempotencyKey
}

// Encode writes the message's Content: what its sender chose, as far as receivers
// see it in a conversation of that kind: the priority means something in chatrooms
// alone. mentions are those of the mention list who count.
func (d *Draft) Encode(kind Kind, mentions []string) []byte {
	b := make([]byte, 0, d.size(mentions))
	b = append(b, `{"type":"`...)
	b = append(b, typeNames[d.Type]...)
	b = append(b, '"')
	if d.Text != nil {
		b = AppendJSONString(append(b, `,"text":`...), *d.Text)
	}
	if len(d.Attributes) > len(`{}`) {
		b = append(append(b, `,"attributes":`...), d.Attributes...)
	}
	if d.File != nil {
		b = appendJSON(append(b, `,"file":`...), d.File)
	}
	if d.Location != nil {
		b = appendJSON(append(b, `,"location":`...), d.Location)
	}
	if d.CustomType != 0 {
		b = strconv.AppendInt(append(b, `,"customType":`...), d.CustomType, 10)
	}
	if len(d.Data) > 0 {
		b = append(append(b, `,"data":`...), d.Data...)
	}
	if d.MentionAll {
		b = append(b, `,"mentionAll":true`...)
	}
	if len(mentions) > 0 {
		b = appendStrings(append(b, `,"mentionList":`...), mentions)
	}
	if d.Transient {
		b = append(b, `,"transient":true`...)
	}
	if d.Receipt {
		b = append(b, `,"receipt":true`...)
	}
	if kind == Chatroom && d.Priority != PriorityNormal {
		b = append(append(append(b, `,"priority":"`...), priorityNames[d.Priority]...), '"')
	}
	return append(b, '}')
}

// size is about how long the encoded draft will be.
func (d *Draft) size(mentions []string) int {
	n := 96 + len(d.Attributes) + len(d.Data)
	if d.Text != nil {
		n += len(*d.Text)
	}
	if d.File != nil || d.Location != nil {
		n += 256
	}
	for _, m := range mentions {
		n += len(m) + 3
	}
	return n
}

func appendStrings(b []byte, list []string) []byte {
	for i, s := range list {
		b = append(b, "[,"[min(i, 1)])
		b = AppendJSONString(b, s)
	}
	return append(b, ']')
}

// appendJSON is for what was checked: it cannot fail.
func appendJSON(b []byte, v any) []byte {
	out, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic("model: a checked draft cannot be written: " + err.Error())
	}
	return append(b, out...)
}

// Digest is the same for two JSON texts that say the same, whatever their white
// space, the order of their fields and the spelling of their strings and numbers.
func Digest(body []byte) ([]byte, error) {
	v := jsontext.Value(body).Clone()
	// The canonical form takes numbers for doubles, in which long integers run into
	// one another, while data and attributes are passed on digit by digit. So where
	// there is one, all integers count as they are spelt.
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(!longDigits(body))); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(v)
	return sum[:], nil
}

// longDigits reports whether b holds 16 digits in a row: 2^53, from where on not every integer is a double, has so many.
func longDigits(b []byte) bool {
	run := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			run = 0
		} else if run++; run == 16 {
			return true
		}
	}
	return false
}
