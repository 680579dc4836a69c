// Package handlers holds the endpoints: one method each, which decodes, calls and
// encodes. Every failure is returned; package api answers it. Rules live in model,
// changes in chat, SQL in repo.
//
// Handlers are safe for concurrent use.
package handlers

import (
	"net/http"

	"parley/chat"
	"parley/model"
	"parley/repo"
)

// Config is what an operator can choose about requests.
type Config struct {
	MessageMaxBytes int64 // of the whole body of a message
}

// Handlers serves the endpoints.
type Handlers struct {
	Chat   *chat.Service
	Store  *repo.Store
	Config Config

	queries turns
}

// Problem is how a failure is answered, as application/problem+json (RFC 9457).
type Problem struct {
	Type       string             `json:"type" example:"/problems/not_a_member" validate:"required"`
	Title      string             `json:"title" example:"Not a member" validate:"required"`
	Status     int                `json:"status" example:"403" validate:"required"`
	Detail     string             `json:"detail" example:"you are not a member of this conversation" validate:"required"`
	Code       model.Code         `json:"code" swaggertype:"string" example:"not_a_member" validate:"required"`
	LegacyCode int                `json:"legacyCode,omitempty" example:"4317"` // the number in the system that Parley replaces, where one exists
	RequestID  string             `json:"requestId" validate:"required"`
	Errors     []model.FieldError `json:"errors,omitempty"` // of invalid_request alone
}

// position sets Parley-Position. It must be called before the data is read: who then
// opens a stream at that position misses nothing.
func (h *Handlers) position(w http.ResponseWriter) {
	w.Header().Set("Parley-Position", model.Position(h.Chat.Hub.Name(), h.Chat.Hub.Position()))
}
