package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests. Everything is looked up once per route at the start; a request costs two atomic additions.
type metrics struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	rateLimited *prometheus.CounterVec
	unmatched   routeMetrics // no such path, no such method, preflights
}

type routeMetrics struct {
	byClass [6]prometheus.Counter // index: status / 100; 0: hijacked
	seconds prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_http_requests_total",
			Help: "Requests by route, method and class of status; a stream whose connection was taken over has the class stream."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "parley_http_request_seconds",
			Help: "Time from a request's arrival to the end of its answer, streams excepted.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"route", "method"}),
		rateLimited: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_http_rate_limited_total",
			Help: "Requests refused with 429, by kind of limit."}, []string{"limit"}),
	}
	reg.MustRegister(m.requests, m.seconds, m.rateLimited)
	m.unmatched = m.forRoute("none", "any", false)
	return m
}

func (m *metrics) forRoute(pattern, method string, stream bool) routeMetrics {
	var rm routeMetrics
	for i, class := range [...]string{"stream", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if stream || i > 1 {
			rm.byClass[i] = m.requests.WithLabelValues(pattern, method, class)
		}
	}
	if !stream {
		rm.seconds = m.seconds.WithLabelValues(pattern, method)
	}
	return rm
}

// observe counts a request; status 0 is a connection taken over. The route is nil when there was none.
func (m *metrics) observe(rt *route, status int, took time.Duration) {
	rm := &m.unmatched
	if rt != nil {
		rm = &rt.metrics
	}
	if c := rm.byClass[min(status/100, 5)]; c != nil {
		c.Inc()
	}
	if rm.seconds != nil {
		rm.seconds.Observe(took.Seconds())
	}
}

func (m *metrics) limited(c class) { m.rateLimited.WithLabelValues(c.String()).Inc() }
