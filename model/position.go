package model

import (
	"strconv"
	"strings"
)

// Position renders a place in the log as clients see it: opaque, and naming the log.
func Position(log string, position int64) string {
	return log + "-" + strconv.FormatInt(position, 10)
}

// ParsePosition is the inverse of Position; false for anything that is not a position of that log.
func ParsePosition(log, s string) (int64, bool) {
	digits, ok := strings.CutPrefix(s, log+"-")
	if !ok || digits == "" || digits[0] < '0' || digits[0] > '9' || (digits[0] == '0' && len(digits) > 1) {
		return 0, false
	}
	p, err := strconv.ParseInt(digits, 10, 64)
	return p, err == nil
}
