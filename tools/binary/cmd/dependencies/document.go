package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
)

// kB is a size as the document shows it.
func kB(bytes int64) string {
	if bytes > 0 && bytes < 1000 {
		return "< 1 kB"
	}
	whole := fmt.Sprint((bytes + 500) / 1000)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole + " kB"
}

// sum is the size of several modules.
func (g *graph) sum(paths map[string]bool) (total int64) {
	for path := range paths {
		total += g.modules[path].size
	}
	return total
}

// document is docs/development/dependencies.md.
func (g *graph) document(why map[string]string) string {
	var b strings.Builder
	g.writeSummary(&b)
	g.writeDirect(&b, why)
	g.writeTests(&b)
	b.WriteString("\n## The tree\n\n" +
		"Each module once, below the one from which the fewest steps lead to it; with its own size.\n\n```\n")
	fmt.Fprintf(&b, "%s  %s\n", g.main, kB(g.modules[g.main].size))
	g.writeTree(&b, g.main, "", g.children())
	b.WriteString("```\n")
	return b.String()
}

func (g *graph) writeSummary(b *strings.Builder) {
	others := g.reach(g.main, "")
	delete(others, g.main)
	total := g.sections.code + g.sections.data + g.sections.tables
	fmt.Fprintf(b, "# What is in the plugin binary, and why\n\n"+
		"`make dependencies` writes this page from the binary for %s/%s, built by %s. A size is that of the\n"+
		"functions and data that the linker kept. What nothing leads to is not there.\n\n",
		goos, goarch, runtime.Version())
	fmt.Fprintf(b, "| Part | Size |\n| --- | --- |\n")
	for _, line := range []struct {
		part string
		size int64
	}{
		{"The plugin's own code and data", g.modules[g.main].size},
		{fmt.Sprintf("%d modules of others", len(others)), g.sum(others)},
		{standard, g.modules[standard].size},
		{"Tables for stack traces and garbage collection (`.gopclntab`)", g.sections.tables},
		{"Types, constants and what else belongs to no one package", total - g.sections.tables - g.sum(others) -
			g.modules[g.main].size - g.modules[standard].size},
		{"**Together**: the released file, but for its headers", total},
	} {
		fmt.Fprintf(b, "| %s | %s |\n", line.part, kB(line.size))
	}
}

func (g *graph) writeDirect(b *strings.Builder, why map[string]string) {
	b.WriteString("\n## Direct dependencies\n\n" +
		"What the plugin's own code imports. \"Brings\" is the size of all that the module leads to, itself included.\n" +
		"\"Alone\" is the part of it that nothing else leads to, and that would go with the module.\n\n" +
		"| Module | Version | Own size | Brings | Alone | Why it is there |\n| --- | --- | --- | --- | --- | --- |\n")
	all := g.sum(g.reach(g.main, ""))
	for _, path := range g.direct() {
		m := g.modules[path]
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", path, m.version, kB(m.size),
			kB(g.sum(g.reach(path, g.main))), kB(all-g.sum(g.reach(g.main, path))), why[path])
	}
}

func (g *graph) writeTests(b *strings.Builder) {
	b.WriteString("\n## What only tests need\n\n" +
		"No package of the plugin imports these; `make test` fails where one does.\n\n")
	for _, path := range g.testOnly() {
		if by := g.importers(path); len(by) > 0 {
			alone := g.sum(g.reach(g.main, "")) - g.sum(g.reach(g.main, path))
			fmt.Fprintf(b, "- `%s`: linked all the same, by `%s`, whose testing helpers are in no test file; %s with what it alone brings.\n",
				path, strings.Join(by, "`, `"), kB(alone))
			continue
		}
		fmt.Fprintf(b, "- `%s`: not in the binary.\n", path)
	}
}

// children tells, for each module, those that are shown below it.
func (g *graph) children() map[string][]string {
	below, seen := map[string][]string{}, map[string]bool{g.main: true, standard: true}
	for queue := []string{g.main}; len(queue) > 0; queue = queue[1:] {
		for _, next := range slices.Sorted(maps.Keys(g.modules[queue[0]].imports)) {
			if !seen[next] {
				seen[next] = true
				below[queue[0]] = append(below[queue[0]], next)
				queue = append(queue, next)
			}
		}
	}
	return below
}

func (g *graph) writeTree(b *strings.Builder, path, indent string, below map[string][]string) {
	for i, child := range below[path] {
		branch, deeper := "├─ ", "│  "
		if i == len(below[path])-1 {
			branch, deeper = "└─ ", "   "
		}
		m := g.modules[child]
		fmt.Fprintf(b, "%s%s%s %s  %s\n", indent, branch, child, m.version, kB(m.size))
		g.writeTree(b, child, indent+deeper, below)
	}
}
