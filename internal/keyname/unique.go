package keyname

import (
	"errors"
	"regexp"
	"strings"
	"text/template/parse"
)

// leastRandom is how many random characters make two names differ: 62^7 are 3.5 million millions.
const leastRandom = 7

// errNotUnique is for a template that may make two names that are the same.
var errNotUnique = errors.New("two names could be the same; write {{ random 20 }} (7 characters or more) or {{ uuid }} where the name has it, " +
	"outside of if, with and variables, and passed to nothing that may shorten it, such as truncate")

// keeping are the functions whose result differs where one of their arguments differs.
var keeping = map[string]bool{
	"print": true, "println": true, "html": true, "js": true, "urlquery": true,
	"lowercase": true, "uppercase": true, "sha256": true, "base64": true,
}

var (
	// wholeVerbs is a format of printf that prints each of its arguments whole.
	wholeVerbs = regexp.MustCompile(`^([^%]|%%|%[-+# 0]*[0-9]*[svqxXd])*$`)
	// randomText is what random and uuid are made of, but for the uuid's hyphens.
	randomText = regexp.MustCompile(`^[0-9A-Za-z]*$`)
)

// isUnique tells whether each name of a template differs from all others, by the template's form.
// Names that differ by chance alone, such as those of a condition, do not count.
func isUnique(root *parse.ListNode) bool {
	for _, node := range root.Nodes {
		if action, ok := node.(*parse.ActionNode); ok && len(action.Pipe.Decl) == 0 && pipeIsUnique(action.Pipe) {
			return true
		}
	}
	return false
}

// pipeIsUnique tells whether what a pipeline prints is unique.
func pipeIsUnique(pipe *parse.PipeNode) bool {
	unique := false
	for _, command := range pipe.Cmds {
		unique = commandIsUnique(command, unique)
	}
	return unique
}

// commandIsUnique tells the same of a command of a pipeline; piped: the command's last argument,
// which comes from the command before, is unique.
func commandIsUnique(command *parse.CommandNode, piped bool) bool {
	name, isCall := command.Args[0].(*parse.IdentifierNode)
	if !isCall {
		return len(command.Args) == 1 && nodeIsUnique(command.Args[0])
	}
	arguments := command.Args[1:]
	switch name.Ident {
	case "uuid":
		return true
	case "random":
		return len(arguments) == 1 && isEnough(arguments[0])
	case "printf":
		if len(arguments) == 0 || !isText(arguments[0], wholeVerbs.MatchString) {
			return false
		}
	case "replace":
		// A text with a character that no random text has cannot cut random text away.
		if len(arguments) == 0 || !isText(arguments[0], func(find string) bool { return !randomText.MatchString(find) }) {
			return false
		}
	default:
		if !keeping[name.Ident] {
			return false
		}
	}
	for _, argument := range arguments {
		piped = piped || nodeIsUnique(argument)
	}
	return piped
}

// nodeIsUnique tells the same of an argument.
func nodeIsUnique(node parse.Node) bool {
	switch n := node.(type) {
	case *parse.PipeNode: // in parentheses
		return len(n.Decl) == 0 && pipeIsUnique(n)
	case *parse.IdentifierNode: // a function without arguments
		return n.Ident == "uuid"
	}
	return false
}

// isEnough tells whether an argument of random is a number that makes names unique.
func isEnough(node parse.Node) bool {
	n, ok := node.(*parse.NumberNode)
	return ok && n.IsInt && n.Int64 >= leastRandom
}

// isText tells whether an argument is a text in quotes that fits.
func isText(node parse.Node, fits func(string) bool) bool {
	text, ok := node.(*parse.StringNode)
	return ok && fits(text.Text)
}

// cut returns the first bytes of a text, at most so many and no part of a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
