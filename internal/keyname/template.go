package keyname

import (
	"crypto/sha256"
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

// nameFunctions stand in for two kinds of functions of Go's and Vault's templates. The result of one kind
// can be longer than its arguments. Nested, such functions would fill the memory of the plugin's process,
// which serves other mounts too. The other kind cuts a text within a character.
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
	"truncate":  truncate, "truncate_sha256": truncateSHA256, "slice": slice,
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

// truncate is Vault's, but cuts between characters.
func truncate(most int, text string) (string, error) {
	if most <= 0 {
		return "", errors.New("truncate needs a length of 1 or more")
	}
	return cut(text, most), nil
}

// hashLength is how much of a digest truncate_sha256 leaves, as Vault's does.
const hashLength = 8

// truncateSHA256 is Vault's, but cuts between characters.
func truncateSHA256(most int, text string) (string, error) {
	if most <= hashLength {
		return "", fmt.Errorf("truncate_sha256 needs a length of more than %d", hashLength)
	}
	if len(text) <= most {
		return text, nil
	}
	kept := cut(text, most-hashLength)
	return kept + fmt.Sprintf("%x", sha256.Sum256([]byte(text[len(kept):])))[:hashLength], nil
}

// slice is Go's for texts, but cuts between characters: a part of one at either end is left out.
func slice(text string, at ...int) (string, error) {
	from, to := 0, len(text)
	switch len(at) {
	case 0:
	case 1:
		from = at[0]
	case 2:
		from, to = at[0], at[1]
	default:
		return "", errors.New("slice takes two positions at most")
	}
	if from < 0 || from > to || to > len(text) {
		return "", fmt.Errorf("slice goes from %d to %d of %d bytes", from, to, len(text))
	}
	return strings.ToValidUTF8(text[from:to], ""), nil
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
	root, err := parsed(text)
	if err != nil {
		return template.StringTemplate{}, err
	}
	if repeats(root) {
		return template.StringTemplate{}, errors.New("range, template and block are not for names")
	}
	return made, nil
}

// parsed is the tree of a template.
func parsed(text string) (*parse.ListNode, error) {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", make(map[string]*parse.Tree)); err != nil {
		return nil, err
	}
	return tree.Root, nil
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
