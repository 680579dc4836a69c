package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"parley/model"
)

// problems writes the answers of failed requests. Which codes an operation may answer is
// partly true by rule and partly said under x-codes in parts/paths.yaml.
type problems struct {
	used   map[model.Code]bool
	shared object // answers that operations have in common
}

func newProblems() *problems { return &problems{map[model.Code]bool{}, object{}} }

// add gives an operation its answers of failure.
func (p *problems) add(op operation) error {
	byStatus := map[int][]model.Code{}
	codes := append(op.codes(), op.stated()...)
	slices.Sort(codes)
	for _, code := range slices.Compact(codes) {
		known, ok := model.ProblemOf(code)
		if !ok {
			return fmt.Errorf("%v: there is no code %q", op, code)
		}
		byStatus[known.Status] = append(byStatus[known.Status], code)
		p.used[code] = true
	}
	answers := sub(op.object, "responses")
	for status, codes := range byStatus {
		answers[strconv.Itoa(status)] = p.answer(status, codes)
	}
	answers["default"] = p.other(op)
	return nil
}

// answer is the response of a failure with one of these codes. One of a single code is shared.
func (p *problems) answer(status int, codes []model.Code) object {
	if len(codes) > 1 {
		return answer(status, codes)
	}
	name := camelCase(string(codes[0]))
	p.shared[name] = answer(status, codes)
	return ref("responses", name)
}

// other is the answer of what no operation needs to say.
func (p *problems) other(op operation) object {
	name, codes := "OtherFailure", []model.Code{model.MethodNotAllowed, model.Internal}
	if op.streams() { // never a 5xx
		name, codes = "StreamFailure", codes[:1]
	}
	for _, code := range codes {
		p.used[code] = true
	}
	p.shared[name] = answer(0, codes)
	p.shared[name].(object)["description"] = "Any other failure. " + p.shared[name].(object)["description"].(string)
	return ref("responses", name)
}

// stated are the codes that parts/paths.yaml names; they are moved to the answers.
func (op operation) stated() []model.Code {
	var codes []model.Code
	list, _ := op.object["x-codes"].([]any)
	for _, code := range list {
		codes = append(codes, model.Code(fmt.Sprint(code)))
	}
	delete(op.object, "x-codes")
	return codes
}

// codes are those that follow from what sort of operation it is.
func (op operation) codes() []model.Code {
	codes := []model.Code{model.InvalidOrigin}
	if !op.private() {
		return codes
	}
	codes = append(codes, model.InvalidRequest, model.Unauthenticated, model.ServerScopeRequired)
	if !op.streams() {
		codes = append(codes, model.Unavailable)
	}
	if limit := op.limit(); limit != "none" {
		codes = append(codes, model.RateLimited)
	}
	if op.onConversation() {
		codes = append(codes, model.ConversationNotFound, model.ConversationExpired)
	}
	if op.object["requestBody"] != nil {
		codes = append(codes, model.UnsupportedMediaType)
		switch op.object["operationId"] {
		case "sendMessage", "editMessage", "broadcastToSubscribers", "broadcastToAll":
			codes = append(codes, model.MessageTooLarge)
		case "uploadFile":
			codes = append(codes, model.FileTooLarge)
		default:
			codes = append(codes, model.RequestTooLarge)
		}
	}
	for _, p := range op.object["parameters"].([]any) {
		switch p.(object)["$ref"] {
		case ref("parameters", "Cursor")["$ref"]:
			codes = append(codes, model.InvalidCursor)
		case ref("parameters", "Parley-Grant")["$ref"]:
			codes = append(codes, model.GrantRequired, model.GrantInvalid, model.GrantMismatch, model.GrantUsed)
		}
	}
	return codes
}

// limit is which of the limits per client an operation counts against; it stays in the document as x-limit.
func (op operation) limit() string {
	if said, ok := op.object["x-limit"].(string); ok {
		return said
	}
	limit := "other"
	if op.method == "get" {
		limit = "reads"
	}
	op.object["x-limit"] = limit
	return limit
}

// answer is the response of a failure with one of these codes.
func answer(status int, codes []model.Code) object {
	var titles []string
	examples := object{}
	for _, code := range codes {
		p, _ := model.ProblemOf(code)
		titles = append(titles, fmt.Sprintf("`%s`: %s.", code, p.Title))
		examples[string(code)] = ref("examples", string(code))
	}
	headers := object{"X-Request-Id": ref("headers", "X-Request-Id")}
	for _, name := range headersOf[status] {
		headers[name] = ref("headers", name)
	}
	return object{
		"description": strings.Join(titles, " "),
		"headers":     headers,
		"content":     object{mediaProblem: object{"schema": ref("schemas", "Problem"), "examples": examples}},
		"x-codes":     codes,
	}
}

// headersOf are the headers that come with a status; 0 is any other.
var headersOf = map[int][]string{
	0:   {"Allow"},
	401: {"WWW-Authenticate"},
	429: {"Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
	503: {"Retry-After"},
}

// examples shows each code that an operation may answer.
func (p *problems) examples() object {
	all := object{}
	for code := range p.used {
		known, _ := model.ProblemOf(code)
		value := object{
			"type": "/problems/" + string(code), "title": known.Title, "status": known.Status,
			"detail": known.Title, "code": code, "requestId": "5XQ3JZV6PAKHM2TCGZ4DB7RWNE",
		}
		if known.Legacy != 0 {
			value["legacyCode"] = known.Legacy
		}
		if code == model.InvalidRequest {
			const wrong = "must be an integer from 1 to 1000"
			value["detail"] = "limit: " + wrong
			value["errors"] = []any{object{"field": "limit", "detail": wrong}}
		}
		all[string(code)] = object{"summary": known.Title, "description": known.Explanation, "value": value}
	}
	return all
}

// describeCodes lists the whole catalogue in the schema of the codes.
func (p *problems) describeCodes(schemas object) {
	codes := model.Codes()
	schemas["ProblemCode"] = object{
		"type": "string", "enum": codes,
		"description": "What went wrong, for programs to branch on. More may be added: treat an unknown one by its status. `GET /problems/{code}` explains each.",
	}
}
