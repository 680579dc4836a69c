package handlers

import (
	"net/http"
	"strconv"

	"parley/model"
)

// History lists a conversation's messages.
//
//	@Summary	Read the history
//	@Description	From the newest on, or between two bounds: startMessageId or startTime, endMessageId or endTime; an id decides over a time. A cursor also works alone.
//	@Tags		messages
//	@Param		id		path		string			true	"conversation"
//	@Param		query	query		historyQuery	false	"what to read"
//	@Param		Parley-Grant	header	string	false	"the application's agreement, where this deployment asks for one"
//	@Success	200		{object}	list[model.Message]
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages [get]
func (h *Handlers) History(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	conversation := r.PathValue("id")
	asked, limit, err := readHistory(r, conversation, false)
	if err != nil {
		return err
	}
	h.position(w)
	grant, err := h.Chat.CheckHistoryGrant(r.Context(), caller, conversation)
	if err != nil {
		return err
	}
	page, more, err := h.Store.History(r.Context(), caller, conversation, asked, limit)
	if err != nil {
		return err
	}
	answer, err := historyPage(asked, page, more)
	if err != nil {
		return err
	}
	if err := grant.Use(r.Context()); err != nil {
		return err
	}
	return encode(w, http.StatusOK, answer)
}

// historyPage makes a page of a history; more says that there is something behind it.
func historyPage(asked model.History, page []*model.Message, more bool) (*list[*model.Message], error) {
	answer := &list[*model.Message]{Items: page}
	if !more {
		return answer, nil
	}
	next, err := asked.Cursor(page[len(page)-1])
	answer.Next = &next
	return answer, err
}

// historyQuery documents the query parameters of a history.
type historyQuery struct {
	Limit          int    `form:"limit" default:"20" minimum:"1" maximum:"1000"`
	Direction      string `form:"direction" enums:"new_to_old,old_to_new" default:"new_to_old"`
	StartMessageID string `form:"startMessageId"`
	StartTime      string `form:"startTime" format:"date-time"`
	StartClosed    bool   `form:"startClosed"` // the start itself is within
	EndMessageID   string `form:"endMessageId"`
	EndTime        string `form:"endTime" format:"date-time"`
	EndClosed      bool   `form:"endClosed"` // the end itself is within
	Type           string `form:"type" enums:"text,image,audio,video,location,file,custom,raw,binary,recalled"`
	CustomType     int64  `form:"customType" minimum:"1"`
	Cursor         string `form:"cursor"`
}

var _ historyQuery // named in the annotations alone

// readHistory reads what a request asks of a history, or of a service's inbox. With a
// cursor, that says it all; what the request repeats must be the same.
func readHistory(r *http.Request, conversation string, inbox bool) (model.History, int, error) {
	p := query(r)
	limit := p.limit(model.DefaultHistoryLimit, model.MaxHistoryLimit)
	var asked model.History
	cursor, resumed := p.text("cursor")
	if resumed && p.err == nil {
		asked, p.err = model.ResumeHistory(conversation, cursor)
	}
	repeated := asked
	repeated.Inbox = inbox
	overlayHistory(p, &repeated)
	if err := p.done(); err != nil {
		return model.History{}, 0, err
	}
	if resumed && repeated != asked {
		return model.History{}, 0, model.ErrInvalidCursor()
	}
	return repeated, limit, nil
}

// overlayHistory sets in h what the parameters say.
func overlayHistory(p *params, h *model.History) {
	if text, given := p.text("direction"); given {
		h.OldToNew = text == "old_to_new"
		if !h.OldToNew && text != "new_to_old" {
			p.fail("direction", "must be new_to_old or old_to_new")
		}
	}
	overlayBound(p, "start", &h.Start)
	overlayBound(p, "end", &h.End)
	if text, given := p.text("type"); given {
		var ok bool
		if h.Type, ok = model.ParseMessageType(text); !ok {
			p.fail("type", "must be a type of message")
		}
	}
	if text, given := p.text("customType"); given {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != text {
			p.fail("customType", "must be a positive integer")
		}
		h.CustomType = n
	}
}

func overlayBound(p *params, name string, b *model.HistoryBound) {
	if text, given := p.text(name + "MessageId"); given {
		if b.ID = text; text == "" {
			p.fail(name+"MessageId", "must be the id of a message")
		}
	}
	if p.time(name+"Time") != nil {
		b.Time, _ = p.text(name + "Time")
	}
	if _, given := p.text(name + "Closed"); given {
		b.Closed = p.boolean(name + "Closed")
	}
}
