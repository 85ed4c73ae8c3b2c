package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// page is what a Markdown file has to do with links.
type page struct {
	links   []string
	anchors map[string]bool
}

var (
	markdown = goldmark.New(goldmark.WithExtensions(extension.GFM))
	htmlID   = regexp.MustCompile(`<\w+[^>]*\s(?:id|name)="([^"]+)"`)
)

func parse(source []byte) *page {
	p := &page{anchors: make(map[string]bool)}
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.AutoLink:
			if n.AutoLinkType == ast.AutoLinkURL {
				p.links = append(p.links, string(n.URL(source)))
			}
		case *ast.Heading:
			p.addHeading(textOf(n, source))
		case *ast.RawHTML:
			p.addHTML(n.Segments.Value(source))
		case *ast.HTMLBlock:
			p.addHTML(n.Lines().Value(source))
		}
		return ast.WalkContinue, nil
	})
	return p
}

func (p *page) addHTML(html []byte) {
	for _, m := range htmlID.FindAllSubmatch(html, -1) {
		p.anchors[string(m[1])] = true
	}
}

// addHeading adds the anchor that GitHub gives a heading; of several of one name each has its own.
func (p *page) addHeading(heading string) {
	anchor := slug(heading)
	for i := 1; p.anchors[anchor]; i++ {
		anchor = fmt.Sprintf("%s-%d", slug(heading), i)
	}
	p.anchors[anchor] = true
}

// textOf is a heading without its marks.
func textOf(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if leaf, ok := n.(*ast.Text); ok && entering {
			b.Write(leaf.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// slug is a heading as GitHub's anchor has it: small letters, digits, hyphens and underscores.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, strings.TrimSpace(heading))
}
