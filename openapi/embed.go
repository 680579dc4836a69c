// Package openapi holds the description of the HTTP surface and the page that
// shows it. openapi.json is made by the command in generate from the annotations
// of package handlers and the YAML files beside that command; "make openapi"
// makes it anew.
package openapi

import _ "embed"

// JSON is the OpenAPI document. It must not be changed.
//
//go:embed openapi.json
var JSON []byte
