package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

// folders are where annotations and the types that they name are; the first holds generalInfo.
var folders = []string{"handlers", "model", "chat", "sse", "api"}

// generalInfo is the file that swag insists on; what is general is in parts/info.yaml.
const generalInfo = "handlers.go"

// overrides are Go types that swag cannot make sense of.
const overrides = `
replace json.RawMessage object
replace jsontext.Value object
replace parley/model.Time string
`

// object is a JSON object.
type object = map[string]any

// runSwag returns what swag makes of the annotations: Swagger 2.0.
func runSwag(ctx context.Context, root string) (object, error) {
	dir, err := os.MkdirTemp("", "parley-openapi-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	types := filepath.Join(dir, "overrides")
	if err := os.WriteFile(types, []byte(overrides), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "swag", "init", "--quiet", "--outputTypes", "json",
		"--output", dir, "--generalInfo", generalInfo, "--dir", strings.Join(folders, ","), "--overridesFile", types)
	cmd.Dir = root
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("swag: %w\n%s", err, said.Bytes())
	}
	text, err := os.ReadFile(filepath.Join(dir, "swagger.json"))
	if err != nil {
		return nil, fmt.Errorf("swag wrote nothing: %w\n%s", err, said.Bytes())
	}
	return parse(text)
}

// convert turns Swagger 2.0 into OpenAPI 3.0.3.
func convert(v2 object) (object, error) {
	text, err := json.Marshal(v2)
	if err != nil {
		return nil, err
	}
	var old openapi2.T
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, fmt.Errorf("read Swagger 2.0: %w", err)
	}
	v3, err := openapi2conv.ToV3(&old)
	if err != nil {
		return nil, fmt.Errorf("convert to OpenAPI 3.0: %w", err)
	}
	if text, err = v3.MarshalJSON(); err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) (object, error) {
	var o object
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // numbers are passed on as they are
	err := d.Decode(&o)
	return o, err
}

// validate checks the finished document, its examples included.
func validate(ctx context.Context, text []byte) error {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return fmt.Errorf("the document cannot be loaded: %w", err)
	}
	if err := doc.Validate(ctx); err != nil {
		return fmt.Errorf("the document is not valid: %w", err)
	}
	return nil
}
