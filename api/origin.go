package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"parley/model"
)

const (
	allMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	allHeaders = "Authorization, Content-Type, Accept, Cache-Control, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, " +
		"Last-Event-ID, Parley-As, Parley-Grant, Parley-Session, Range, X-Request-Id"
)

// Shared by all answers: an http.Header holds its values, and nobody writes into them.
var (
	exposedHeaders = []string{"Accept-Ranges, Allow, Content-Disposition, Content-Length, Content-Range, ETag, Idempotent-Replayed, Location, " +
		"Parley-Position, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, X-Request-Id"}
	varyOrigin = []string{"Origin"}
	noSniff    = []string{"nosniff"}
	noStore    = []string{"no-store"}
)

// origins decides which pages may talk to the server.
type origins struct {
	any       bool
	allowed   map[string]bool
	localOnly bool
}

// ParseOrigins checks what PARLEY_ALLOWED_ORIGINS lists: "*", or origins such as https://chat.example.
func ParseOrigins(list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		if text == "*" {
			out = append(out, text)
			continue
		}
		origin, ok := normalOrigin(text)
		if u, err := url.Parse(text); !ok || err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("%q is not an origin such as https://chat.example", text)
		}
		out = append(out, origin)
	}
	return out, nil
}

func newOrigins(allowed []string, publicURL string, localOnly bool) origins {
	o := origins{allowed: map[string]bool{}, localOnly: localOnly}
	for _, text := range allowed {
		if text == "*" {
			o.any = true
		} else if origin, ok := normalOrigin(text); ok {
			o.allowed[origin] = true
		}
	}
	if origin, ok := normalOrigin(publicURL); ok {
		o.allowed[origin] = true
	}
	return o
}

// normalOrigin is the origin of a URL in lower case and without the port that its scheme implies.
func normalOrigin(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "", false
	}
	return u.Scheme + "://" + normalHost(u.Scheme, u.Host), true
}

func normalHost(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}

// allows reports whether a request that came to host from a page of this origin may pass. The scheme
// of the server's own origin is not compared: a proxy may speak TLS for us.
func (o origins) allows(origin, host string) bool {
	if o.any {
		return true
	}
	normal, ok := normalOrigin(origin)
	if !ok {
		return false // "null" among others
	}
	if o.allowed[normal] {
		return true
	}
	scheme, rest, _ := strings.Cut(normal, "://")
	return rest == normalHost(scheme, host)
}

// localHost reports whether a Host header names this machine. With a key that nobody chose,
// a foreign name that resolves here is an attempt to reach it from a web page.
func localHost(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		name = host[:i]
	}
	return strings.EqualFold(name, "localhost") || name == "127.0.0.1" || name == "[::1]"
}

// admit settles whether the request's origin may talk to us, and says so in the
// headers of whatever will be answered.
func (s *server) admit(w *response, r *http.Request) {
	if s.origins.localOnly && !localHost(r.Host) {
		w.foreign = true
	}
	values := r.Header["Origin"]
	if len(values) == 0 {
		return
	}
	if len(values) > 1 || !s.origins.allows(values[0], r.Host) {
		w.foreign = true
	}
	if !w.foreign {
		h := w.Header()
		h["Access-Control-Allow-Origin"] = values
		h["Access-Control-Expose-Headers"] = exposedHeaders
	}
}

// asksFirst reports whether a request is a browser's preflight.
func asksFirst(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight answers a preflight from an origin that is let in; false when the request is something else. The
// path is not looked at: the request that follows shall have an answer that its page can read.
func preflight(w *response, r *http.Request) bool {
	if w.foreign || !asksFirst(r) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", allMethods)
	h.Set("Access-Control-Allow-Headers", allHeaders)
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return true
}

func errForeignOrigin(localOnly bool) error {
	if localOnly {
		return model.NewError(model.InvalidOrigin, "with a key that it made itself this server answers only to localhost, 127.0.0.1 and [::1], and to their pages")
	}
	return model.NewError(model.InvalidOrigin, "pages of this origin may not talk to this server")
}

// ParseProxies reads what PARLEY_TRUSTED_PROXIES lists: addresses and CIDRs.
func ParseProxies(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			addr = addr.Unmap().WithZone("")
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR", text)
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

// remoteAddr is where the request came from, as host:port. Behind trusted proxies it is the nearest address of
// X-Forwarded-For that is none of theirs, with port 0; what stands left of it anybody could have written.
func remoteAddr(r *http.Request, proxies []netip.Prefix) string {
	peer, ok := parseHop(r.RemoteAddr)
	if len(proxies) == 0 || !ok || !trusted(peer, proxies) {
		return r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	found := r.RemoteAddr
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseHop(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		found = netip.AddrPortFrom(hop, 0).String()
		if !trusted(hop, proxies) {
			break
		}
	}
	return found
}

// parseHop reads an address with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return addr.Unmap().WithZone(""), err == nil
}

func trusted(addr netip.Addr, proxies []netip.Prefix) bool {
	for _, p := range proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
