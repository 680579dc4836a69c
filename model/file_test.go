package model_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/model"
)

func TestFileOfURL(t *testing.T) {
	for url, want := range map[string]string{
		"/v1/files/abc?key=k":                            "abc k true true",
		"https://chat.example/v1/files/abc?key=k":        "abc k false true",
		"https://chat.example/im/v1/files/abc?x=1&key=k": "abc k false true",
		"/im/v1/files/abc?key=k":                         "  true false",
		"/v1/files/abc":                                  "abc  true false",
		"/v1/files/?key=k":                               " k true false",
		"/v1/files/a/b?key=k":                            "a/b k true false",
		"//chat.example/v1/files/abc?key=k":              "abc k false true",
		"https://chat.example/cat.png?key=k":             "  false false",
		"%zz":                                            "  false false",
		"":                                               "  true false",
	} {
		id, key, relative, ok := model.FileOfURL(url)
		if got := fmt.Sprint(id, " ", key, " ", relative, " ", ok); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func TestCheckFileName(t *testing.T) {
	for name, ok := range map[string]bool{
		"cat.png": true, "猫 \"1\"/\\.txt": true, strings.Repeat("猫", 255): true,
		"": false, strings.Repeat("x", 256): false, "a\nb": false, "a\x00": false, "\xff": false, "\u0085": false,
	} {
		if err := model.CheckFileName("name", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
