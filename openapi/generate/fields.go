package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is what swag does not say of a member of a struct.
type field struct {
	name     string // in JSON
	optional bool   // may be left out
	nullable bool
	time     bool
}

// goTypes are the structs of the folders, by package and name as swag writes them.
type goTypes map[string][]field

// readTypes parses the folders' structs.
func readTypes(root string) (goTypes, error) {
	structs := map[string]*ast.StructType{}
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, fmt.Errorf("parse %s: %w", folder, err)
			}
			collect(structs, file)
		}
	}
	types := goTypes{}
	for name := range structs {
		pkg, _, _ := strings.Cut(name, ".")
		types[name] = fieldsOf(structs, pkg, structs[name])
	}
	return types, nil
}

// collect notes the structs of a file.
func collect(structs map[string]*ast.StructType, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if st, ok := spec.Type.(*ast.StructType); ok {
				structs[file.Name.Name+"."+spec.Name.Name] = st
			}
		}
		return true
	})
}

func fieldsOf(structs map[string]*ast.StructType, pkg string, st *ast.StructType) []field {
	var list []field
	for _, f := range st.Fields.List {
		typ, pointer := f.Type, false
		if star, ok := typ.(*ast.StarExpr); ok {
			typ, pointer = star.X, true
		}
		typeName := nameOf(pkg, typ)
		name, options := jsonTag(f)
		if len(f.Names) == 0 && name == "" { // embedded; behind a pointer it may be missing as a whole
			if inner, ok := structs[typeName]; ok {
				for _, in := range fieldsOf(structs, pkg, inner) {
					in.optional = in.optional || pointer
					list = append(list, in)
				}
			}
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		list = append(list, field{name, optional, pointer && !optional, typeName == "model.Time"})
	}
	return list
}

// nameOf is a type's name with its package.
func nameOf(pkg string, typ ast.Expr) string {
	switch t := typ.(type) {
	case *ast.Ident:
		return pkg + "." + t.Name
	case *ast.SelectorExpr:
		if p, ok := t.X.(*ast.Ident); ok {
			return p.Name + "." + t.Sel.Name
		}
	}
	return ""
}

func jsonTag(f *ast.Field) (name, options string) {
	if f.Tag == nil {
		return "", ""
	}
	text, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return "", ""
	}
	name, options, _ = strings.Cut(reflect.StructTag(text).Get("json"), ",")
	return name, options
}

// of looks up the fields behind one of swag's definitions; a generic type is found without its arguments.
func (types goTypes) of(definition string) (fields []field, ok bool) {
	generic, _, _ := strings.Cut(definition, "-")
	fields, ok = types[generic]
	return fields, ok
}

// complete adds to swag's definitions which members are always there, which can be null, and which are times.
// In the body of a request, whose type's name ends so, only validate:"required" makes a member required,
// and for any other null is as good as nothing.
func (types goTypes) complete(v2 object) error {
	definitions, _ := v2["definitions"].(object)
	for name, d := range definitions {
		properties, _ := d.(object)["properties"].(object)
		if properties == nil {
			continue
		}
		fields, ok := types.of(name)
		if !ok {
			return fmt.Errorf("no struct for swag's %s: is its folder among %v?", name, folders)
		}
		needed, _ := d.(object)["required"].([]any)
		var required []any
		for _, f := range fields {
			p, ok := properties[f.name].(object)
			if !ok {
				continue
			}
			if f.time {
				p["format"] = "date-time"
			}
			if isRequest(name) {
				if !slices.Contains(needed, any(f.name)) {
					properties[f.name] = orNull(p)
				}
				continue
			}
			if f.nullable {
				properties[f.name] = orNull(p)
			}
			if !f.optional {
				required = append(required, f.name)
			}
		}
		if required != nil {
			d.(object)["required"] = required
		}
	}
	return nil
}

func isRequest(name string) bool { return strings.HasSuffix(name, "Request") }

// orNull lets a member be null. What stands beside a reference is ignored, so that goes one deeper.
func orNull(p object) object {
	if ref, ok := p["$ref"]; ok {
		return object{"allOf": []any{object{"$ref": ref}}, "x-nullable": true}
	}
	p["x-nullable"] = true
	return p
}

// order puts the members of schemas into the order of the Go types.
func (types goTypes) order(o orders) {
	for definition, fields := range types {
		if len(fields) == 0 {
			continue
		}
		at := "/components/schemas/" + schemaName(definition) + "/properties"
		o[at] = nil
		for _, f := range fields {
			o[at] = append(o[at], f.name)
		}
	}
}
