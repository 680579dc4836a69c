package handlers_test

import "testing"

// TestNullIsNothing: what may be left out of a request may be null as well. The document says so, which the site checks.
func TestNullIsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.listen("Jerry", "session=j1")
	group := s.create("Tom", `{"members":["Jerry"],"kind":null,"name":null,"attributes":null,"unique":null,"visibility":null,"ttlSeconds":null}`)
	s.create("Tom", `{"kind":"chatroom","members":null}`)
	service := s.newService("Tom")
	const content = `"attributes":null,"file":null,"location":null,"customType":null,"data":null,"mentionAll":null,"mentionList":null`
	const message = `{"type":"text","text":"x",` + content + `,"transient":null,"receipt":null,"priority":null,"pushData":null,"noSync":null`
	path := "/v1/conversations/" + group
	s.must("Tom", "POST", path+"/messages", message+`,"will":null,"to":null}`)
	s.must("server/Tom", "POST", "/v1/conversations/"+service+"/broadcasts", message+`}`)
	s.must("server/Tom", "POST", "/v1/broadcasts", message+`,"conversationId":"`+service+`","validUntil":null}`)
	s.must("Tom", "PATCH", path+"/messages/"+group+".1", `{"type":"text","text":"y",`+content+`,"reason":null}`)
	s.must("server", "POST", path+"/messages/"+group+".1/recall", `{"reason":{"code":1,"detail":null}}`)
	s.must("Jerry", "POST", path+"/read", `{"messageId":null}`)
	s.must("Tom", "POST", "/v1/queries", `{"where":null,"order":null,"limit":null,"skip":null,"cursor":null,"compact":null,"include":null}`)
	s.must("Tom", "POST", "/v1/queries/count", `{"where":null}`)
	s.must("server", "POST", "/v1/clients/Jerry/kick", `{"reason":null}`)
}
