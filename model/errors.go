package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Code is the stable name of a kind of failure; programs branch on it.
type Code string

// The codes of API.md, in its order.
const (
	InvalidRequest           Code = "invalid_request"
	InvalidCursor            Code = "invalid_cursor"
	ActingClientRequired     Code = "acting_client_required"
	SessionRequired          Code = "session_required"
	Unauthenticated          Code = "unauthenticated"
	ServerScopeRequired      Code = "server_scope_required"
	InvalidOrigin            Code = "invalid_origin"
	GrantRequired            Code = "grant_required"
	GrantInvalid             Code = "grant_invalid"
	GrantMismatch            Code = "grant_mismatch"
	GrantUsed                Code = "grant_used"
	NotAMember               Code = "not_a_member"
	MessageOwnershipRequired Code = "message_ownership_required"
	MessageEditDisabled      Code = "message_edit_disabled"
	MessageRecallDisabled    Code = "message_recall_disabled"
	NotAllowedInChatroom     Code = "not_allowed_in_chatroom"
	NotAllowedInService      Code = "not_allowed_in_service"
	NotAllowedInTemporary    Code = "not_allowed_in_temporary"
	NotFound                 Code = "not_found"
	SessionNotFound          Code = "session_not_found"
	FileNotFound             Code = "file_not_found"
	ConversationNotFound     Code = "conversation_not_found"
	MessageNotFound          Code = "message_not_found"
	MethodNotAllowed         Code = "method_not_allowed"
	SessionConflict          Code = "session_conflict"
	ConversationFull         Code = "conversation_full"
	IdempotencyKeyReused     Code = "idempotency_key_reused"
	MessageRecalled          Code = "message_recalled"
	ConversationExpired      Code = "conversation_expired"
	MessageTooLarge          Code = "message_too_large"
	RequestTooLarge          Code = "request_too_large"
	FileTooLarge             Code = "file_too_large"
	PreconditionFailed       Code = "precondition_failed"
	RangeNotSatisfiable      Code = "range_not_satisfiable"
	UnsupportedMediaType     Code = "unsupported_media_type"
	QueryTooExpensive        Code = "query_too_expensive"
	RateLimited              Code = "rate_limited"
	Internal                 Code = "internal"
	Unavailable              Code = "unavailable"
)

// Problem describes a code to people: what GET /problems/{code} shows.
type Problem struct {
	Status      int    // HTTP status
	Legacy      int    // the number in the system that Parley replaces; 0: none. Some codes' depends on the operation, see Error.Legacy
	Title       string // a few words
	Explanation string // what it means and what to do
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// Error is a failure meant for the client. Two errors match under errors.Is
// when their codes do. Detail never holds a secret, SQL or another's data.
type Error struct {
	Code   Code
	Legacy int // 0: the catalogue's
	Detail string
	Fields []FieldError // of invalid_request alone
	// RetryAfter is in seconds, for rate_limited and unavailable; 0: none.
	RetryAfter int
}

func (e *Error) Error() string {
	if len(e.Fields) > 0 {
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Fields[0].Field, e.Fields[0].Detail)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Detail)
}

// Is reports whether target is an *Error with the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// WithLegacy returns a copy of e that carries the legacy code of an operation.
func (e *Error) WithLegacy(legacy int) *Error {
	c := *e
	c.Legacy = legacy
	return &c
}

// LegacyCode is the number to show: the error's own, else the catalogue's, else 0.
func (e *Error) LegacyCode() int {
	if e.Legacy != 0 {
		return e.Legacy
	}
	return problems[e.Code].Legacy
}

// NewError returns an error with a code of the catalogue and a detail for people.
func NewError(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Invalid is the invalid_request that names one field and what would be right.
func Invalid(field, format string, args ...any) *Error {
	d := fmt.Sprintf(format, args...)
	return &Error{Code: InvalidRequest, Detail: field + ": " + d, Fields: []FieldError{{field, d}}}
}

// IsCode reports whether err is, or wraps, an *Error with that code.
func IsCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Legacy codes of failures whose number depends on the operation (API.md section 1).
const (
	LegacySendRefused       = 4401
	LegacyUpdateRefused     = 4309
	LegacyHistoryRefused    = 4312
	LegacyMembershipRefused = 4317
)

// ErrConversationNotFound is what a conversation that does not exist, or must not be known to, answers.
func ErrConversationNotFound() *Error {
	return NewError(ConversationNotFound, "there is no such conversation, or you may not know of it")
}

// ErrConversationExpired is what a temporary conversation answers to its former members.
func ErrConversationExpired() *Error {
	return NewError(ConversationExpired, "this temporary conversation has expired")
}

// ErrNotAMember is the refusal of an operation that only members may do.
func ErrNotAMember(legacy int) *Error {
	return NewError(NotAMember, "you are not a member of this conversation").WithLegacy(legacy)
}

// ErrActingClientRequired answers a server token that must say for whom it acts.
func ErrActingClientRequired() *Error {
	return NewError(ActingClientRequired, "this needs a client to act for: name one in the header Parley-As")
}

// ProblemOf looks a code up; false when there is none of that name.
func ProblemOf(code Code) (Problem, bool) {
	p, ok := problems[code]
	return p, ok
}

// Codes lists every code, sorted by name.
func Codes() []Code { return slices.Sorted(maps.Keys(problems)) }
