package apikey

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	gotemplate "text/template"
	"text/template/parse"
	"time"

	"github.com/hashicorp/go-secure-stdlib/base62"
	"github.com/hashicorp/vault/sdk/helper/template"
)

// maxNamePart bounds what a function of a name_template returns, in bytes.
const maxNamePart = 1 << 10

var (
	errNamePart = fmt.Errorf("a part of it would be longer than %d bytes", maxNamePart)
	// wideVerb is a verb of printf with a width or precision of four digits or from an argument.
	wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*(\*|[0-9]{4})`)
)

// nameFunctions stand in for those of Go's and Vault's templates whose result can be longer
// than what they are given: nested they would fill the memory of the plugin's process, which
// serves other mounts too.
var nameFunctions = map[string]any{
	"print":    bounded(fmt.Sprint),
	"println":  bounded(fmt.Sprintln),
	"html":     bounded(gotemplate.HTMLEscaper),
	"js":       bounded(gotemplate.JSEscaper),
	"urlquery": bounded(gotemplate.URLQueryEscaper),
	"printf": func(format string, args ...any) (string, error) {
		if wideVerb.MatchString(format) {
			return "", errNamePart
		}
		return namePart(fmt.Sprintf(format, args...))
	},
	"replace": func(find, with, text string) (string, error) { return namePart(strings.ReplaceAll(text, find, with)) },
	"base64":  func(text string) (string, error) { return namePart(base64.StdEncoding.EncodeToString([]byte(text))) },
	"random": func(length int) (string, error) {
		if length > maxNamePart {
			return "", errNamePart
		}
		return base62.Random(length)
	},
	"timestamp": func(format string) (string, error) { return namePart(time.Now().Format(format)) },
}

func bounded(function func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) { return namePart(function(args...)) }
}

func namePart(text string) (string, error) {
	if len(text) > maxNamePart {
		return "", errNamePart
	}
	return text, nil
}

// newNameTemplate reads a name_template, one that comes to an end: a range over a large
// number would not, nor would one that calls itself.
func newNameTemplate(text string) (template.StringTemplate, error) {
	options := []template.Opt{template.Template(text)}
	for name, function := range nameFunctions {
		options = append(options, template.Function(name, function))
	}
	made, err := template.NewTemplate(options...)
	if err != nil {
		return template.StringTemplate{}, err
	}
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	if _, err = tree.Parse(text, "", "", make(map[string]*parse.Tree)); err != nil {
		return template.StringTemplate{}, err
	}
	if repeats(tree.Root) {
		return template.StringTemplate{}, errors.New("range, template and block are not for names")
	}
	return made, nil
}

// repeats tells whether a part of a template can run more than once.
func repeats(list *parse.ListNode) bool {
	if list == nil {
		return false
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.RangeNode, *parse.TemplateNode:
			return true
		case *parse.IfNode:
			if repeats(n.List) || repeats(n.ElseList) {
				return true
			}
		case *parse.WithNode:
			if repeats(n.List) || repeats(n.ElseList) {
				return true
			}
		}
	}
	return false
}
