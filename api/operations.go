package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parley/model"
	"parley/openapi"
)

// healthy answers as long as the process does.
//
//	@Summary	Is the process alive?
//	@Tags		operations
//	@Produce	plain
//	@Success	200	{string}	string	"ok"
//	@Router		/healthz [get]
func healthy(w http.ResponseWriter, _ *http.Request) error {
	return writeText(w, "ok\n")
}

// ready answers 200 when the server can do its work.
//
//	@Summary	Can the server do its work?
//	@Tags		operations
//	@Produce	plain
//	@Success	200	{string}	string				"ready"
//	@Failure	503	{object}	handlers.Problem	"the database is away, migrations are missing, or the server is about to stop"
//	@Router		/readyz [get]
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(r.Context()); err != nil {
			s.log.Warn("not ready", "error", err)
			return model.NewError(model.Unavailable, "not ready: the database cannot be reached, migrations are missing, or the server is about to stop")
		}
	}
	return writeText(w, "ready\n")
}

func writeText(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(text))
	return err
}

// openAPI serves the description of this API.
//
//	@Summary	This document
//	@Tags		operations
//	@Produce	json
//	@Success	200	{object}	object
//	@Router		/openapi.json [get]
func openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, err := w.Write(openapi.JSON)
	return err
}

// docs shows the same to people.
//
//	@Summary	The documentation
//	@Tags		operations
//	@Produce	html
//	@Success	200	{string}	string
//	@Router		/docs [get]
func docs() entrance { return page(openapi.Docs()) }

// exposition shows what the server has counted.
//
//	@Summary	Metrics for Prometheus
//	@Tags		operations
//	@Produce	plain
//	@Success	200	{string}	string
//	@Router		/metrics [get]
func (s *server) exposition() entrance {
	return page(promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{}))
}
