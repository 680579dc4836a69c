// Package api is what is true of every request: routes, authentication,
// origins, limits, errors, logs and metrics. It holds no rule of chat; what an
// endpoint does is written in handlers.
//
// A request meets the checks in the order that the contract fixes: path and
// method, origin, token, scope, limit, and then the endpoint's own.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"parley/handlers"
	"parley/model"
)

// Config is what New needs to know. Keys and RedeemTicket are required.
type Config struct {
	Keys *Keys
	// Revoked tells until when a client's tokens are refused: one issued in that second or before is, and
	// so is one that does not say when. It is asked for every request and must not block.
	Revoked func(client string) (through time.Time, ok bool)
	// RedeemTicket answers for which client a ticket opens the stream of session. It refuses with
	// unauthenticated those that are unknown, expired, revoked or tied to another session.
	RedeemTicket func(ctx context.Context, ticket, session string) (model.Caller, error)
	// Grants is set when some operation needs a grant; else those that are sent are not even read.
	Grants bool
	// Unavailable reports whether an error means that the database is away.
	Unavailable func(error) bool
	// Ready is nil when the server can do its work.
	Ready func(ctx context.Context) error

	AllowedOrigins []string // as from ParseOrigins
	PublicURL      string   // its origin counts as the server's own
	LocalHostsOnly bool     // with the generated key: answer to localhost, 127.0.0.1 and [::1] alone
	TrustedProxies []netip.Prefix
	Limits         Limits

	Metrics          *prometheus.Registry // nil: a new one
	MetricsElsewhere bool                 // /metrics has its own address
	Demo             *Demo                // nil: there is no page at /
	Log              *slog.Logger         // nil: none
}

// Route is a method and the pattern of a path.
type Route struct{ Method, Pattern string }

// New returns the whole HTTP surface.
func New(cfg Config, h *handlers.Handlers) http.Handler {
	s := newServer(cfg)
	s.handle(s.routes(h))
	return s
}

// Routes lists what New routes without a demo, HEAD not repeated beside GET.
func Routes() []Route {
	var list []Route
	for _, rt := range newServer(Config{}).routes(nil) {
		list = append(list, Route{rt.method, rt.pattern})
	}
	return list
}

func (s *server) routes(h *handlers.Handlers) []*route {
	list := []*route{
		// For anybody.
		get("/healthz", public(healthy)).quietly(),
		get("/readyz", public(s.ready)).quietly(),
		get("/openapi.json", public(openAPI)),
		get("/docs", docs()),
		get("/docs/*", docs()),
		get("/problems/{code}", public(problemPage)),
		get("/parley.js", clientLibrary()),
		get("/parley.d.ts", clientTypes()),

		// For clients, and for server tokens that act for one.
		get("/v1/events", s.client(h.Events)).streams(),
		post("/v1/acks", unlimited, s.client(h.Ack)),
		post("/v1/tickets", others, s.client(h.CreateTicket)),
		get("/v1/sessions", s.client(h.Sessions)),
		del("/v1/sessions/{id}", s.client(h.Logout)),
		del("/v1/sessions/{id}/will", s.client(h.ClearWill)),
		get("/v1/unread", s.client(h.Unread)),
		post("/v1/presence/query", reads, s.client(h.QueryPresence)),
		put("/v1/presence/subscriptions", s.client(h.SubscribePresence)),

		post("/v1/files", others, s.client(h.UploadFile)),
		get("/v1/files/{id}", s.keyed(h.File)).downloads(),
		del("/v1/files/{id}", s.client(h.DeleteFile)),

		get("/v1/conversations", s.client(h.ListConversations)),
		post("/v1/conversations", others, s.client(h.CreateConversation)),
		post("/v1/queries", reads, s.client(h.FindConversations)),
		post("/v1/queries/count", reads, s.client(h.CountConversations)),
		get("/v1/conversations/{id}", s.client(h.Conversation)),
		patch("/v1/conversations/{id}", s.client(h.UpdateConversation)),
		get("/v1/conversations/{id}/members", s.client(h.Members)),
		post("/v1/conversations/{id}/members", others, s.client(h.AddMembers)),
		del("/v1/conversations/{id}/members", s.client(h.RemoveMembers)),
		get("/v1/conversations/{id}/members/count", s.client(h.MemberCount)),
		put("/v1/conversations/{id}/mute", s.client(h.Mute)),
		del("/v1/conversations/{id}/mute", s.client(h.Unmute)),
		post("/v1/conversations/{id}/messages", sends, s.client(h.SendMessage)),
		get("/v1/conversations/{id}/messages", s.client(h.History)),
		get("/v1/conversations/{id}/messages/{mid}", s.client(h.Message)),
		patch("/v1/conversations/{id}/messages/{mid}", s.client(h.EditMessage)),
		post("/v1/conversations/{id}/messages/{mid}/recall", others, s.client(h.RecallMessage)),
		get("/v1/conversations/{id}/messages/{mid}/receipts", s.client(h.Receipts)),
		post("/v1/conversations/{id}/read", reads, s.client(h.MarkRead)),

		// For server tokens alone.
		del("/v1/conversations/{id}", s.serverOnly(h.DeleteConversation)),
		del("/v1/conversations/{id}/messages/{mid}", s.serverOnly(h.DeleteMessage)),
		post("/v1/clients/{id}/kick", others, s.serverOnly(h.KickClient)),
		get("/v1/stats", s.serverOnly(h.Stats)),
		get("/v1/conversations/{id}/inbox", s.serverOnly(h.Inbox)),
		post("/v1/conversations/{id}/broadcasts", others, s.serverOnly(h.Broadcast)),
		post("/v1/broadcasts", others, s.serverOnly(h.BroadcastToAll)),
		get("/v1/broadcasts", s.serverOnly(h.Broadcasts)),
	}
	if !s.cfg.MetricsElsewhere {
		list = append(list, get("/metrics", s.exposition()).quietly())
	}
	return append(list, s.demo()...)
}

// server is what all routes share.
type server struct {
	cfg     Config
	log     *slog.Logger
	origins origins
	limiter *limiter
	metrics *metrics
	mux     *chi.Mux
}

func newServer(cfg Config) *server {
	cfg.Metrics = cmp.Or(cfg.Metrics, prometheus.NewRegistry())
	s := &server{
		cfg:     cfg,
		log:     cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		origins: newOrigins(cfg.AllowedOrigins, cfg.PublicURL, cfg.LocalHostsOnly),
		limiter: newLimiter(),
		metrics: newMetrics(cfg.Metrics),
		mux:     chi.NewRouter(),
	}
	s.mux.NotFound(s.unmatched)
	s.mux.MethodNotAllowed(s.unmatched)
	return s
}

// handle puts the routes into the router.
func (s *server) handle(routes []*route) {
	for _, rt := range routes {
		rt.metrics = s.metrics.forRoute(rt.pattern, rt.method, rt.stream)
		h := s.enter(rt)
		s.mux.Method(rt.method, rt.pattern, h)
		if rt.method == http.MethodGet {
			s.mux.Method(http.MethodHead, rt.pattern, h) // net/http leaves the body out
		}
	}
}
