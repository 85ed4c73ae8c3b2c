// Command prose checks the links of the repository's Markdown files. The file, folder or heading of a relative link
// must be there; any other link must have the form of a URL.
//
//	prose README.md docs/tutorials/first-token.md
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
)

func main() {
	site := site{files: os.DirFS("."), pages: make(map[string]*page)}
	problems := 0
	for _, name := range os.Args[1:] {
		found, err := site.check(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(1)
		}
		for _, problem := range found {
			fmt.Printf("%s: %s\n", name, problem)
		}
		problems += len(found)
	}
	if problems > 0 {
		os.Exit(1)
	}
	fmt.Printf("the links of %d files lead somewhere\n", len(os.Args)-1)
}

// site is the tree of files that links lead into.
type site struct {
	files fs.FS
	pages map[string]*page
}

// page is the parsed Markdown file of that name.
func (s *site) page(name string) (*page, error) {
	if p := s.pages[name]; p != nil {
		return p, nil
	}
	text, err := fs.ReadFile(s.files, name)
	if err != nil {
		return nil, err
	}
	s.pages[name] = parse(text)
	return s.pages[name], nil
}

// check returns what is wrong with the links of a file.
func (s *site) check(name string) (problems []string, err error) {
	p, err := s.page(name)
	if err != nil {
		return nil, err
	}
	for _, link := range p.links {
		if problem := s.follow(name, link); problem != "" {
			problems = append(problems, fmt.Sprintf("link %s: %s", link, problem))
		}
	}
	return problems, nil
}

// follow returns why a link of a file leads nowhere, or "".
func (s *site) follow(from, link string) string {
	u, err := url.Parse(link)
	switch {
	case err != nil:
		return errors.Unwrap(err).Error()
	case u.Scheme == "mailto":
		return ""
	case u.Scheme != "" || u.Host != "":
		if (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
			return "a URL begins with https:// and a host"
		}
		return ""
	case strings.HasPrefix(u.Path, "/"):
		return "a path below the server's root is none of the repository's; write a relative one"
	}
	to := from
	if u.Path != "" {
		to = path.Join(path.Dir(from), u.Path)
	}
	if _, err = fs.Stat(s.files, to); err != nil {
		return "there is no " + to
	}
	if u.Fragment == "" || !strings.HasSuffix(to, ".md") {
		return ""
	}
	target, err := s.page(to)
	if err != nil {
		return err.Error()
	}
	if !target.anchors[u.Fragment] {
		return fmt.Sprintf("%s has no heading or anchor %q", to, u.Fragment)
	}
	return ""
}
