package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

const (
	// shown is how much of a token is shown, in bytes. All JWTs begin with the same characters.
	shown = 8
	// widest is the longest line that is shown in whole.
	widest = 160
)

// screen is what the reader of the demo sees.
type screen struct {
	out   io.Writer
	steps int
	// tokens are cut short wherever they are printed, and the password is not shown at all.
	tokens   []string
	password string
}

// jwt is for tokens that come up elsewhere than in the answers that the steps look at.
var jwt = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]*`)

func (s *screen) title(text string) {
	s.steps++
	fmt.Fprintf(s.out, "\n== %d. %s\n", s.steps, text)
}

// say prints a remark.
func (s *screen) say(format string, args ...any) {
	fmt.Fprintln(s.out, "# "+s.safe(fmt.Sprintf(format, args...)))
}

func (s *screen) command(text string) { fmt.Fprintln(s.out, "$ "+s.safe(text)) }

// output prints what a command has printed.
func (s *screen) output(text string) {
	for line := range strings.Lines(strings.TrimSpace(s.safe(text))) {
		line = strings.TrimRight(line, " \n")
		if len(line) > widest {
			line = line[:widest] + "…"
		}
		fmt.Fprintln(s.out, line)
	}
}

// safe cuts secrets short.
func (s *screen) safe(text string) string {
	if s.password != "" {
		text = strings.ReplaceAll(text, s.password, "…")
	}
	for _, token := range s.tokens {
		if len(token) > shown {
			text = strings.ReplaceAll(text, token, cut(token))
		}
	}
	return jwt.ReplaceAllStringFunc(text, cut)
}

func cut(token string) string { return token[:shown] + "…" }

// quoted is a command's arguments for a shell.
func quoted(args []string) string {
	plain := regexp.MustCompile(`^[\w@%+=:,./-]+$`)
	out := make([]string, len(args))
	for i, arg := range args {
		if out[i] = arg; !plain.MatchString(arg) {
			out[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
