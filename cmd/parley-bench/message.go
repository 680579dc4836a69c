package main

import (
	"bytes"
	"fmt"
	"strings"
)

// indexDigits is how many digits number a message in its text.
const indexDigits = 9

// filler makes the text about as long as what people write.
const filler = "Shall we meet at the usual place at eight? I will bring the papers and the key."

// textBody is the JSON of a text message with a number that the receivers can find again.
func textBody(index int) string {
	return fmt.Sprintf(`{"type":"text","text":"#%0*d %s"}`, indexDigits, index, filler)
}

// refusedBody has the size and the fields of textBody, but is refused after it was decoded.
func refusedBody() string { return strings.Replace(textBody(0), `"type":"text"`, `"type":"tixt"`, 1) }

// transientBody is a message that is delivered to whoever is online and stored nowhere.
func transientBody() string {
	return strings.TrimSuffix(textBody(0), "}") + `,"transient":true}`
}

// priorityBody is a textBody of a chatroom.
func priorityBody(priority string) string {
	return strings.TrimSuffix(textBody(0), "}") + `,"priority":"` + priority + `"}`
}

// receiptBody is a textBody whose sender wants to know who has read it.
func receiptBody() string { return strings.TrimSuffix(textBody(0), "}") + `,"receipt":true}` }

// setIndex writes another number into a request or a body made with textBody.
func setIndex(request []byte, index int) {
	at := bytes.LastIndexByte(request, '#') + 1
	for i := indexDigits - 1; i >= 0; i-- {
		request[at+i] = byte('0' + index%10)
		index /= 10
	}
}

// indexOf finds the number in the data of a message event.
func indexOf(data []byte) (int, bool) {
	i := bytes.Index(data, []byte(`"text":"#`))
	if i < 0 {
		return 0, false
	}
	n, ok := leadingInt(data[i+len(`"text":"#`):])
	return int(n), ok
}

// numberIn finds the number in a message's text.
func numberIn(text string) (int, bool) {
	digits, ok := strings.CutPrefix(text, "#")
	if !ok {
		return 0, false
	}
	n, ok := leadingInt([]byte(digits))
	return int(n), ok
}
