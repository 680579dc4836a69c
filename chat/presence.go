package chat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"

	"parley/model"
	"parley/repo"
)

// Presence is derived: a client is online while the database knows a session of it that
// is connected or within its grace. Nothing is written when that changes. A node that
// holds streams which subscribe asks the database about those whom they watch: when it is
// told that something may have changed (by itself, by the log, or by another node's
// whisper, which may be lost), when somebody's grace ends, and every few seconds anyway.
// What it then finds it compares with what each stream was told last. So a lost whisper
// or a dead node makes the news late, but never wrong, and nobody hears a thing twice.

// Online returns which of clients are online and may be seen by the caller, in the order
// asked: those it shares an ordinary or temporary conversation with; a server token sees
// everyone. clients have passed model.CheckClients.
func (s *Service) Online(ctx context.Context, caller model.Caller, clients []string) ([]string, error) {
	found, err := s.Store.Presence(ctx, clients, s.Config.ReconnectGrace)
	if err != nil {
		return nil, err
	}
	online := slices.DeleteFunc(slices.Clone(clients), func(id string) bool { _, is := found[id]; return !is })
	if caller.Server || len(online) == 0 {
		return online, nil
	}
	seen, err := s.Store.Acquainted(ctx, caller.Client, online)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(online, func(id string) bool { return !seen[id] }), nil
}

// Subscribe has the calling session hear of the presence of clients, and of nobody else's
// any more, and answers as Online does. It fails with session_required.
func (s *Service) Subscribe(ctx context.Context, caller model.Caller, clients []string) ([]string, error) {
	if err := caller.NeedClient(); err != nil {
		return nil, err
	}
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	if session == "" {
		return nil, errSubscriptionNeedsSession()
	}
	online, err := s.Online(ctx, caller, clients)
	if err != nil {
		return nil, err
	}
	ok, err := s.Store.Subscribe(ctx, repo.Subscription{
		ClientID: caller.Client, SessionID: session, Revision: rand.Text(), Anyone: caller.Server, Watched: clients, Online: online,
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errSubscriptionNeedsSession()
	}
	s.hearSubscribed(sessionKey{caller.Client, session})
	s.nodes.tell(presenceWhisper(whisperSubscribed, []string{caller.Client, session}))
	return online, nil
}

func errSubscriptionNeedsSession() error {
	return model.NewError(model.SessionRequired,
		"a subscription belongs to a session: name one of yours, whose id you chose for its stream, in the header Parley-Session")
}

// What nodes whisper to each other about presence. The data of either is a list of texts.
const (
	whisperSubscribed = "presence_subscribed" // a client and its session, which subscribes to others now
	whisperPresence   = "presence_changed"    // clients whose presence may have changed
)

func presenceWhisper(event string, names []string) whisper {
	data, err := json.Marshal(names)
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	return whisper{Event: event, Data: data}
}

// hearPresence takes a whisper about presence; false when it is about something else.
func (s *Service) hearPresence(w whisper) bool {
	if w.Event != whisperSubscribed && w.Event != whisperPresence {
		return false
	}
	var names []string
	switch err := json.Unmarshal(w.Data, &names); {
	case err != nil: // of a program of another version
	case w.Event == whisperPresence:
		s.presence.hint(names)
	case len(names) == 2:
		s.hearSubscribed(sessionKey{names[0], names[1]})
	}
	return true
}

// hearSubscribed has the list of a session read again, if its stream is here.
func (s *Service) hearSubscribed(k sessionKey) {
	if st := s.sessions.subscribed(k); st != nil {
		s.presence.read(k, st)
	}
}

// mayNowSee has those looked at who watch or are watched by clients that have joined a
// conversation: the others there may be seen from now on.
func (s *Service) mayNowSee(clients []string) {
	s.presence.hint(clients)
	for _, client := range clients {
		for _, id := range s.Hub.OpenSessions(client) {
			s.presence.review(sessionKey{client, id})
		}
	}
}

// mayHaveChanged has all nodes look at the presence of clients.
func (s *Service) mayHaveChanged(clients []string) {
	if len(clients) == 0 {
		return
	}
	s.presence.hint(clients)
	const most = 500 // in one whisper
	for part := range slices.Chunk(clients, most) {
		s.nodes.tell(presenceWhisper(whisperPresence, part))
	}
}
