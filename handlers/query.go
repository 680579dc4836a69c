package handlers

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"parley/model"
	"parley/repo"
)

const (
	defaultPage = 10 // conversations, when no limit is given
	maxPage     = 1000
)

// queryRequest is the body of POST /v1/queries.
type queryRequest struct {
	Where   jsontext.Value `json:"where" swaggertype:"object" extensions:"x-nullable"` // absent or {}: the caller's own conversations
	Order   []string       `json:"order" example:"-lastMessageAt,name" maxItems:"5"`
	Limit   *int           `json:"limit" minimum:"1" maximum:"1000" default:"10"`
	Skip    *int           `json:"skip" minimum:"0" maximum:"10000"`
	Cursor  *string        `json:"cursor" extensions:"x-nullable"` // next of the page before
	Compact *bool          `json:"compact"`                        // leave the members out
	Include []string       `json:"include" enums:"lastMessage"`    // what else to show
}

// countRequest is the body of POST /v1/queries/count.
type countRequest struct {
	Where jsontext.Value `json:"where" swaggertype:"object"`
}

// countResponse says how many there are.
type countResponse struct {
	Count int64 `json:"count" validate:"required"`
}

// conversationList is a query as both endpoints understand it.
type conversationList struct {
	where                jsontext.Value
	order                []string
	orderAt              func(i int) string // names the field that holds item i
	limit, skip          int
	cursor               string
	onward               bool // there is a cursor
	compact, lastMessage bool
}

// FindConversations answers a query for conversations.
//
//	@Summary	Query conversations
//	@Tags		queries
//	@Param		body	body		queryRequest	false	"query"
//	@Success	200		{object}	list[model.Conversation]
//	@Failure	default	{object}	Problem
//	@Router		/v1/queries [post]
func (h *Handlers) FindConversations(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req queryRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	l := conversationList{where: req.Where, order: req.Order, limit: defaultPage, compact: req.Compact != nil && *req.Compact}
	l.orderAt = func(i int) string { return fmt.Sprintf("order[%d]", i) }
	if req.Limit != nil {
		l.limit = *req.Limit
	}
	if req.Skip != nil {
		l.skip = *req.Skip
	}
	if req.Cursor != nil {
		l.cursor, l.onward = *req.Cursor, true
	}
	if l.limit < 1 || l.limit > maxPage {
		return model.Invalid("limit", "must be an integer from 1 to %d", maxPage)
	}
	if l.skip < 0 || l.skip > model.MaxSkip {
		return model.Invalid("skip", "must be an integer from 0 to %d", model.MaxSkip)
	}
	for i, what := range req.Include {
		if what != "lastMessage" {
			return model.Invalid(fmt.Sprintf("include[%d]", i), "must be lastMessage")
		}
		l.lastMessage = true
	}
	return h.answerList(w, r, caller, l)
}

// ListConversations lists the caller's own conversations, newest activity first, or answers a query.
//
//	@Summary	List one's own conversations, or query all that one may see
//	@Tags		queries
//	@Param		where	query		string	false	"conditions, as JSON"
//	@Param		order	query		string	false	"fields, comma-separated, - before one for descending"
//	@Param		limit	query		int		false	"page size"	minimum(1)	maximum(1000)	default(10)
//	@Param		skip	query		int		false	"how many to leave out first"	minimum(0)	maximum(10000)
//	@Param		cursor	query		string	false	"next of the page before"
//	@Param		compact	query		bool	false	"leave the members out"
//	@Param		include	query		string	false	"what else to show"	Enums(lastMessage)
//	@Success	200		{object}	list[model.Conversation]
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations [get]
func (h *Handlers) ListConversations(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	l := conversationList{
		limit: p.limit(defaultPage, maxPage), skip: p.integer("skip", 0, 0, model.MaxSkip),
		compact: p.boolean("compact"), lastMessage: p.oneOf("include", "", "lastMessage") != "",
		orderAt: func(int) string { return "order" },
	}
	if where, given := p.text("where"); given {
		l.where = jsontext.Value(where)
		if err := model.CheckJSON("where", l.where, model.MaxNesting); err != nil && p.err == nil {
			p.err = err
		}
	}
	if order, given := p.text("order"); given {
		l.order = strings.Split(order, ",")
	}
	l.cursor, l.onward = p.text("cursor")
	if err := p.done(); err != nil {
		return err
	}
	return h.answerList(w, r, caller, l)
}

// CountConversations counts what a query would find.
//
//	@Summary	Count conversations
//	@Tags		queries
//	@Param		body	body		countRequest	false	"query"
//	@Success	200		{object}	countResponse
//	@Failure	default	{object}	Problem
//	@Router		/v1/queries/count [post]
func (h *Handlers) CountConversations(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req countRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	where, err := parseWhere(caller, req.Where)
	if err != nil {
		return err
	}
	leave, err := h.queries.enter(r.Context(), queue(caller))
	if err != nil {
		return err
	}
	defer leave()
	h.position(w)
	n, err := h.Store.CountConversations(r.Context(), caller, where)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, countResponse{n})
}

// queue names the queue that a caller's queries wait in; server tokens wait in none.
func queue(caller model.Caller) string {
	if caller.Server {
		return ""
	}
	return caller.Client
}

// parseWhere reads a where document. Without conditions it asks for the caller's own, so there must be one.
func parseWhere(caller model.Caller, raw jsontext.Value) (*model.Condition, error) {
	where, err := model.ParseWhere(raw)
	if err == nil && where == nil {
		err = caller.NeedClient()
	}
	return where, err
}

func (h *Handlers) answerList(w http.ResponseWriter, r *http.Request, caller model.Caller, l conversationList) error {
	where, err := parseWhere(caller, l.where)
	if err != nil {
		return err
	}
	order, err := model.ParseOrder(l.order, l.orderAt)
	if err != nil {
		return err
	}
	name := listID("conversations", caller.Client, caller.Server, canonical(l.where), l.order, l.skip, l.compact, l.lastMessage)
	q := repo.ConversationQuery{
		Caller: caller, Where: where, Order: order, Skip: l.skip, Limit: l.limit + 1, Members: !l.compact, LastMessage: l.lastMessage,
	}
	if l.onward {
		q.After, q.Skip = new(model.Place), 0 // skipped before the first page
		if err := model.DecodeCursor(name, l.cursor, q.After); err != nil {
			return err
		}
		if err := q.After.Check(order); err != nil {
			return err
		}
	}
	found, err := h.find(r.Context(), w, q)
	if err != nil {
		return err
	}
	page, err := pageOf(found, l.limit, name, func(c *model.Conversation) any { return model.PlaceOf(order, c) })
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, page)
}

// find runs a query when its turn has come.
func (h *Handlers) find(ctx context.Context, w http.ResponseWriter, q repo.ConversationQuery) ([]*model.Conversation, error) {
	if q.Where == nil && q.Order[0].Field.Column == model.QueryActivity {
		h.position(w)
		return h.findOwn(ctx, q) // what every client does at its start takes no time worth waiting for
	}
	leave, err := h.queries.enter(ctx, queue(q.Caller))
	if err != nil {
		return nil, err
	}
	defer leave()
	h.position(w)
	return h.Store.FindConversations(ctx, q)
}

func (h *Handlers) findOwn(ctx context.Context, q repo.ConversationQuery) ([]*model.Conversation, error) {
	own := repo.OwnConversations{Client: q.Caller.Client, Members: q.Members, LastMessage: q.LastMessage, Skip: q.Skip, Limit: q.Limit}
	if q.After != nil {
		own.After = &repo.Activity{At: model.Time{Time: *q.After.Keys[0].Time}, ID: q.After.ID}
	}
	return h.Store.Conversations(ctx, own)
}

// canonical is the same text for documents that mean the same.
func canonical(where jsontext.Value) string {
	v := where.Clone()
	if len(v) == 0 || v.Canonicalize() != nil || string(v) == "null" {
		return "{}"
	}
	return string(v)
}
