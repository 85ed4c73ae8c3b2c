package main

import (
	"fmt"
	"regexp"
	"strings"
)

// What the tests say for the report, each at the beginning of a line of a test's log. See
// byHand and serversLog in e2e/.
const (
	byHand     = "by hand: "
	serversLog = "the server's log: "
)

const (
	// mostLines bounds a report, mostCommands the commands in it, and widest a line's text.
	mostLines    = 10
	mostCommands = 3
	widest       = 240
)

var (
	failureAt   = regexp.MustCompile(`^\s+(\w+\.go:\d+): ?(.*)$`)
	panicked    = regexp.MustCompile(`^(?:panic|fatal error): (.*)$`)
	assertField = regexp.MustCompile(`^\s+(Error Trace|Error|Test|Messages):\s*(.*)$`)
	inTest      = regexp.MustCompile(`\w+_test\.go:\d+`)
	traceLine   = regexp.MustCompile(`(\w+\.go:\d+)$`)
)

// failure is what a test says about what went wrong.
type failure struct {
	at       []string // places in the source, the innermost first
	err      []string
	messages string
}

// told is what was expected and what was found instead, where the failure tells them apart.
func (f failure) told() (expected, found string) {
	err := strings.ReplaceAll(strings.Join(f.err, "; "), ":; ", ": ")
	if unexpected, is := strings.CutPrefix(err, "Received unexpected error: "); is {
		err = unexpected
		if f.messages == "" {
			f.messages = "no error"
		}
	}
	if f.messages == "" {
		return err, ""
	}
	return f.messages, err
}

// broken tells whether a test that has no end has a panic in its output.
func (t *test) broken() bool {
	for _, l := range t.lines {
		if panicked.MatchString(strings.TrimSpace(l.text)) {
			return true
		}
	}
	return false
}

// report tells of a failed test, in ten lines at most: what was expected, how to repeat it by
// hand and where the server's log is.
func (t *test) report() []string {
	name, f := t.culprit()
	lines := []string{fmt.Sprintf("FAIL: %s, after %.1f s", name, t.seconds)}
	say := func(what, text string) { lines = append(lines, fmt.Sprintf("  %-9s %s", what, short(text))) }
	expected, found := f.told()
	say("expected", expected)
	if found != "" {
		say("found", found)
	}
	if len(f.at) > 0 {
		say("at", strings.Join(f.at, ", from "))
	}
	say("by hand", "make e2e RUN='"+pattern(name)+"'")
	commands, logs := t.marked(byHand), t.marked(serversLog)
	if len(commands) > mostCommands {
		commands = commands[len(commands)-mostCommands:]
	}
	if len(commands) > 0 {
		say("", "or on the server of make dev, with its mount and Palette; what the test asked last:")
	}
	for _, command := range commands {
		say("", command)
	}
	switch {
	case len(logs) == 0:
		say("log", "the test has no server, or its log is below")
	case len(logs) == 1:
		say("log", logs[0])
	default:
		say("log", fmt.Sprintf("%s, and those of %d more beside it", logs[0], len(logs)-1))
	}
	return lines[:min(len(lines), mostLines)]
}

// culprit is the first test that failed and says why. A test whose cleaning up fails does so
// after those below it.
func (t *test) culprit() (name string, f failure) {
	for _, name := range t.failed {
		if f, found := t.failureOf(name); found {
			return name, f
		}
	}
	return t.name, failure{err: []string{"the test says nothing"}}
}

// failureOf finds the first failure in the output of one test.
func (t *test) failureOf(name string) (f failure, found bool) {
	field := ""
	for i, l := range t.lines {
		if l.test != name {
			continue
		}
		text := strings.TrimRight(l.text, "\n")
		if p := panicked.FindStringSubmatch(text); p != nil {
			return failure{err: []string{"no panic, but: " + p[1]}, at: placeIn(t.lines[i:])}, true
		}
		if at := failureAt.FindStringSubmatch(text); at != nil && field != "Error Trace" {
			if field != "" {
				break // another message
			}
			f = failure{at: at[1:2], err: []string{at[2]}} // counts unless an assertion follows
			continue
		}
		if a := assertField.FindStringSubmatch(text); a != nil {
			field = a[1]
			if field == "Error Trace" {
				f.at, f.err = nil, nil
			}
			text = a[2]
		}
		f.add(field, strings.TrimSpace(text))
	}
	return f, field != "" || len(f.err) > 0
}

// placeIn is the first place in a test that a stack names.
func placeIn(stack []line) []string {
	for _, l := range stack {
		if at := inTest.FindString(l.text); at != "" {
			return []string{at}
		}
	}
	return nil
}

// add adds a line of an assertion's field.
func (f *failure) add(field, text string) {
	switch {
	case text == "":
	case field == "Error Trace":
		if at := traceLine.FindString(text); at != "" {
			f.at = append(f.at, at)
		}
	case field == "Error" && !strings.HasPrefix(text, "Diff:") && len(f.err) < 8:
		f.err = append(f.err, text)
	case field == "Messages":
		f.messages = strings.TrimSpace(f.messages + " " + text)
	}
}

// marked are the lines that begin so, in the whole test.
func (t *test) marked(mark string) (found []string) {
	for _, l := range t.lines {
		if _, text, is := strings.Cut(l.text, mark); is {
			found = append(found, strings.TrimSpace(text))
		}
	}
	return found
}

// pattern is a pattern for a test's name that neither make nor a shell changes.
func pattern(name string) string {
	var out strings.Builder
	for _, r := range name {
		switch {
		case strings.ContainsRune(`'$`, r):
			out.WriteByte('.')
		case strings.ContainsRune(`\.+*?()|[]{}^`, r):
			out.WriteString(`\` + string(r))
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// short cuts a text that is too long for a line.
func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > widest {
		return string(runes[:widest-1]) + "…"
	}
	return text
}
