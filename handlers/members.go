package handlers

import (
	"net/http"

	"parley/model"
)

// Members lists the members of a conversation to its members, by id.
//
//	@Summary	List members
//	@Tags		members
//	@Param		id		path		string	true	"conversation"
//	@Param		limit	query		int		false	"page size"	minimum(1)	maximum(500)	default(100)
//	@Param		cursor	query		string	false	"next of the page before"
//	@Param		online	query		bool	false	"say who is online"
//	@Success	200		{object}	list[model.Member]
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/members [get]
func (h *Handlers) Members(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	id := r.PathValue("id")
	p := query(r)
	limit, online := p.limit(defaultLimit, model.MaxMembers), p.boolean("online")
	name := listID("members", id, online)
	var after string
	p.cursor(name, &after)
	if err := p.done(); err != nil {
		return err
	}
	h.position(w)
	standing, err := h.Store.Standing(r.Context(), caller, id)
	if err != nil {
		return err
	}
	if err := standing.CheckListMembers(); err != nil {
		return err
	}
	list := h.Store.Members
	if standing.Kind == model.Chatroom {
		list = h.Store.Present
	}
	found, err := list(r.Context(), id, after, limit+1)
	if err != nil {
		return err
	}
	page, err := pageOf(found, limit, name, func(m model.Member) any { return m.ClientID })
	if err != nil {
		return err
	}
	if online {
		if err := h.sayOnline(r, page.Items); err != nil {
			return err
		}
	}
	return encode(w, http.StatusOK, page)
}

func (h *Handlers) sayOnline(r *http.Request, members []model.Member) error {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ClientID
	}
	online, err := h.Store.Presence(r.Context(), ids, h.Chat.Config.ReconnectGrace)
	if err != nil {
		return err
	}
	for i := range members {
		_, is := online[members[i].ClientID]
		members[i].Online = &is
	}
	return nil
}

// addMembersRequest is the body of POST /v1/conversations/{id}/members.
type addMembersRequest struct {
	ClientIDs []string `json:"clientIds" validate:"required" minItems:"1" maxItems:"500" example:"Mary"`
}

// AddMembers adds clients, each by itself; one's own id joins.
//
//	@Summary	Add members, or join
//	@Tags		members
//	@Param		id		path		string				true	"conversation"
//	@Param		body	body		addMembersRequest	true	"who"
//	@Param		Parley-Grant	header	string	false	"the application's agreement, where this deployment asks for one"
//	@Success	200		{object}	model.MembersChange	"also when all failed"
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/members [post]
func (h *Handlers) AddMembers(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req addMembersRequest
	if err := decode(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	change, err := h.Chat.AddMembers(r.Context(), caller, r.PathValue("id"), req.ClientIDs)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, change)
}

// RemoveMembers removes clients, each by itself; one's own id quits.
//
//	@Summary	Remove members, or quit
//	@Tags		members
//	@Param		id			path		string		true	"conversation"
//	@Param		clientId	query		[]string	true	"who"	collectionFormat(multi)
//	@Param		Parley-Grant	header	string	false	"the application's agreement, where this deployment asks for one"
//	@Success	200			{object}	model.MembersChange	"also when all failed"
//	@Failure	default		{object}	Problem
//	@Router		/v1/conversations/{id}/members [delete]
func (h *Handlers) RemoveMembers(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	clients := p.clients("clientId")
	if err := p.done(); err != nil {
		return err
	}
	change, err := h.Chat.RemoveMembers(r.Context(), caller, r.PathValue("id"), clients)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, change)
}

// memberCount is the answer of GET /v1/conversations/{id}/members/count.
type memberCount struct {
	Count int `json:"count"`
}

// MemberCount counts the members, for whoever may see the conversation.
//
//	@Summary	Count members
//	@Tags		members
//	@Param		id		path		string	true	"conversation"
//	@Success	200		{object}	memberCount
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/members/count [get]
func (h *Handlers) MemberCount(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	h.position(w)
	id := r.PathValue("id")
	standing, err := h.Store.Standing(r.Context(), caller, id)
	if err != nil {
		return err
	}
	if err := standing.CheckSee(); err != nil {
		return err
	}
	count := h.Store.MemberCount
	if standing.Kind == model.Chatroom {
		count = h.Store.CountPresent
	}
	n, err := count(r.Context(), id)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, memberCount{n})
}

// Mute keeps a conversation from disturbing the caller.
//
//	@Summary	Do not disturb
//	@Tags		members
//	@Param		id	path	string	true	"conversation"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/mute [put]
func (h *Handlers) Mute(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	return h.setMute(w, r, caller, true)
}

// Unmute lets a conversation disturb the caller again.
//
//	@Summary	Disturb again
//	@Tags		members
//	@Param		id	path	string	true	"conversation"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/mute [delete]
func (h *Handlers) Unmute(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	return h.setMute(w, r, caller, false)
}

func (h *Handlers) setMute(w http.ResponseWriter, r *http.Request, caller model.Caller, muted bool) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.Mute(r.Context(), caller, r.PathValue("id"), muted); err != nil {
		return err
	}
	return noContent(w)
}
