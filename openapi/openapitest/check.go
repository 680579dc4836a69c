// Package openapitest holds tests to the OpenAPI document: what a server answers, and
// the requests that it accepts, must be as the document says. It is stricter than the
// document where that leaves room for later: a field that is not described is a mistake.
package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"parley/openapi"
)

const (
	mediaProblem = "application/problem+json"
	mediaStream  = "text/event-stream"
)

// exactTime is how every time of ours is written.
const exactTime = `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`

type document struct {
	*openapi3.T
	router routers.Router
}

// load reads the embedded document once, and closes its objects.
var load = sync.OnceValues(func() (*document, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi.JSON)
	if err != nil {
		return nil, fmt.Errorf("load the document: %w", err)
	}
	doc.Servers = nil // a test's server is anywhere
	for name, s := range doc.Components.Schemas {
		if strings.HasSuffix(name, "Request") { // what we read, not what we write
			admitNull(s)
		} else {
			tighten(s)
		}
	}
	router, err := gorillamux.NewRouter(doc)
	return &document{doc, router}, err
})

// admitNull lets a member that may be anything be null too, which kin-openapi does not by itself.
func admitNull(ref *openapi3.SchemaRef) {
	for _, p := range ref.Value.Properties {
		if p.Value.Type == nil && len(p.Value.OneOf)+len(p.Value.AllOf) == 0 {
			p.Value.Nullable = true
		}
	}
}

// tighten refuses undescribed fields, and times that are not to the millisecond in UTC.
func tighten(ref *openapi3.SchemaRef) {
	s := ref.Value
	if s.Type.Is("string") && s.Format == "date-time" {
		s.Pattern = exactTime
	}
	if len(s.Properties) > 0 && s.AdditionalProperties.Has == nil && len(s.OneOf)+len(s.AllOf) == 0 {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		if p.Ref == "" {
			tighten(p)
		}
	}
	if s.Items != nil && s.Items.Ref == "" {
		tighten(s.Items)
	}
}

// checker reports to one test, and falls silent when that has ended: streams may outlive it.
type checker struct {
	*document
	t     testing.TB
	mu    sync.Mutex
	ended bool
}

func newChecker(t testing.TB) *checker {
	t.Helper()
	doc, err := load()
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{document: doc, t: t}
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = true
	})
	return c
}

func (c *checker) errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.t.Errorf("not as openapi.json says: "+format, args...)
	}
}

// fits checks a value of ours against a schema.
func (c *checker) fits(schema string, value any) error {
	return c.Components.Schemas[schema].Value.VisitJSON(value,
		openapi3.VisitAsResponse(), openapi3.MultiErrors(), openapi3.SetSchemaErrorMessageCustomizer(briefly))
}

// briefly says where something is wrong and what, without the schema and the value that kin-openapi would print.
func briefly(err *openapi3.SchemaError) string {
	return "/" + strings.Join(err.JSONPointer(), "/") + ": " + err.Reason
}

// exchange is a request, as much of its body as was read, and the answer.
type exchange struct {
	request *http.Request
	sent    []byte
	status  int
	header  http.Header
	body    []byte
}

func (x *exchange) String() string {
	return fmt.Sprintf("%s %s: %d", x.request.Method, x.request.URL.Path, x.status)
}

// streams reports whether the answer is an event stream; its frames are checked one by one, see frames.
func (x *exchange) streams() bool {
	return x.status == http.StatusOK && strings.HasPrefix(x.header.Get("Content-Type"), mediaStream)
}

// downloads reports whether the answer is a file, or a part of one: of any media type.
func (x *exchange) downloads(route *routers.Route) bool {
	return x.status < 400 && route.Operation.OperationID == "downloadFile"
}

// check is the whole examination of one exchange.
func (c *checker) check(x *exchange) {
	if x.request.Method == http.MethodOptions || strings.HasPrefix(x.request.URL.Path, "/docs/") {
		return // preflights, and the files of a page, are not described
	}
	if x.status >= 400 {
		c.checkProblem(x)
	}
	route, params, err := c.find(x.request)
	if err != nil {
		if x.status != http.StatusNotFound && x.status != http.StatusMethodNotAllowed && x.status != http.StatusForbidden {
			c.errorf("%v: the path is not described", x)
		}
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: x.request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, MultiError: true,
			ExcludeRequestBody: route.Operation.OperationID == "uploadFile", // of any media type
		},
	}
	input.Options.WithCustomSchemaErrorFunc(briefly)
	c.checkAnswer(x, input)
	if x.status < 300 && x.request.Method != http.MethodHead {
		c.checkRequest(x, input)
	}
}

// find looks up the operation; HEAD is GET without the body.
func (c *checker) find(r *http.Request) (*routers.Route, map[string]string, error) {
	if r.Method == http.MethodHead {
		r = r.Clone(r.Context())
		r.Method = http.MethodGet
	}
	return c.router.FindRoute(r)
}

func (c *checker) checkAnswer(x *exchange, input *openapi3filter.RequestValidationInput) {
	answer := input.Route.Operation.Responses.Status(x.status)
	if answer == nil {
		answer = input.Route.Operation.Responses.Default()
		if x.status < 400 {
			c.errorf("%v: no such answer is described", x)
			return
		}
	}
	if x.request.Method == http.MethodHead {
		return
	}
	if x.status >= 400 {
		c.checkCode(x, answer.Value)
	}
	if len(answer.Value.Content) == 0 && len(x.body) > 0 && !x.downloads(input.Route) {
		c.errorf("%v: there should be no body: %s", x, x.body)
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: x.streams() || x.downloads(input.Route)}
	options.WithCustomSchemaErrorFunc(briefly)
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: x.status, Header: x.header,
		Body: io.NopCloser(bytes.NewReader(x.body)), Options: options,
	})
	if err != nil {
		c.errorf("%v: %v\nanswer: %s", x, err, x.body)
	}
}

// checkCode wants the code of a problem to be among those that the operation names for the status.
func (c *checker) checkCode(x *exchange, answer *openapi3.Response) {
	var p struct{ Code string }
	if json.Unmarshal(x.body, &p) != nil {
		return // said already
	}
	codes, _ := answer.Extensions["x-codes"].([]any)
	if !slices.Contains(codes, any(p.Code)) {
		c.errorf("%v: the code %s is not among %v", x, p.Code, codes)
	}
}

// checkProblem checks what is true of every failure, wherever it comes from.
func (c *checker) checkProblem(x *exchange) {
	if got := x.header.Get("Content-Type"); got != mediaProblem {
		c.errorf("%v: Content-Type %q", x, got)
	}
	if x.request.Method == http.MethodHead {
		return
	}
	var p struct {
		Type, Code, RequestID string
		Status                int
	}
	var value any
	if err := errors.Join(json.Unmarshal(x.body, &p), json.Unmarshal(x.body, &value)); err != nil {
		c.errorf("%v: not a problem: %v: %s", x, err, x.body)
		return
	}
	if err := c.fits("Problem", value); err != nil {
		c.errorf("%v: %v\nanswer: %s", x, err, x.body)
	}
	if p.Status != x.status || p.Type != "/problems/"+p.Code || p.RequestID != x.header.Get("X-Request-Id") {
		c.errorf("%v: the problem contradicts itself or the header: %s", x, x.body)
	}
}

// checkRequest wants an accepted request to be one that the document allows.
func (c *checker) checkRequest(x *exchange, input *openapi3filter.RequestValidationInput) {
	again := *input
	again.Request = x.request.Clone(context.Background())
	again.Request.Body = http.NoBody
	if len(x.sent) > 0 {
		again.Request.Body = io.NopCloser(bytes.NewReader(x.sent))
	}
	again.Request.ContentLength = int64(len(x.sent))
	if err := openapi3filter.ValidateRequest(context.Background(), &again); err != nil {
		c.errorf("%v: the request was accepted although %v", x, err)
	}
	if x.streams() {
		return // ignores what it does not know
	}
	for name := range x.request.URL.Query() {
		described := slices.ContainsFunc(input.Route.Operation.Parameters, func(p *openapi3.ParameterRef) bool {
			return p.Value.In == openapi3.ParameterInQuery && p.Value.Name == name
		})
		if !described {
			c.errorf("%v: the parameter %q was accepted but is not described", x, name)
		}
	}
}
