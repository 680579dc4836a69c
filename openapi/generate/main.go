// Command generate writes openapi/openapi.json: OpenAPI 3.0.3, made from the
// annotations of package handlers. Run it in the root of the module.
//
// swag reads the annotations and writes Swagger 2.0. Its gaps are filled from the Go
// types themselves (fields.go), kin-openapi turns the result into OpenAPI 3.0, the YAML
// files in parts say what no annotation can (overlay.go), and what is true of every
// operation is added by rule (operation.go, errors.go, events.go).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "openapi/openapi.json", "where to write")
	flag.Parse()
	doc, err := generate(context.Background(), ".")
	if err == nil {
		err = os.WriteFile(*out, doc, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate makes the document of the module in root.
func generate(ctx context.Context, root string) ([]byte, error) {
	types, err := readTypes(root)
	if err != nil {
		return nil, err
	}
	v2, err := runSwag(ctx, root)
	if err != nil {
		return nil, err
	}
	if err := types.complete(v2); err != nil {
		return nil, err
	}
	doc, err := convert(v2)
	if err != nil {
		return nil, err
	}
	order, err := overlay(doc)
	if err != nil {
		return nil, err
	}
	if err := finish(doc, order); err != nil {
		return nil, err
	}
	types.order(order)
	text, err := order.write(doc)
	if err != nil {
		return nil, err
	}
	return text, validate(ctx, text)
}
